/* SPDX-License-Identifier: MIT
 *
 * A program that starts and finalizes an interpreter again and again, each time with the statements of its argument.
 */
#include <Python.h>

#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    for (int i = 0; i < atoi(argv[1]); i++) {
        Py_Initialize();
        if (PyRun_SimpleString(argv[2]) != 0 || Py_FinalizeEx() < 0)
            return 1;
    }
    return 0;
}
