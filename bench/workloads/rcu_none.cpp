/* SPDX-License-Identifier: MIT
 *
 * In the place of the workloads with grace periods, where the library was built without liburcu.
 */
#include "time/harness.h"

namespace bench
{

void add_defer()
{
    benchmark::AddCustomContext("liburcu", "none");
}

void add_readers()
{
}

} // namespace bench
