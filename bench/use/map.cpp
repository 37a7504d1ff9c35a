/* SPDX-License-Identifier: MIT
 *
 *     map/<n>   a hash table of n entries, each a node and a key of 12 to 63 bytes: filled, n keys looked up at random,
 *               a random half deleted and as many others put in, iterated, dropped. The table of buckets is no object
 */
#include "use/drive.h"

#include <cstring>

namespace bench::use
{

namespace
{

struct MapShape {
    uint32_t entries;
};

/* The text of a key, made of its number. */
struct Key {
    static constexpr unsigned kShortest = 12, kLengths = 52;

    explicit Key(uint64_t number)
    {
        uint64_t mixed = (number + 1) * 0x9E3779B97F4A7C15u;
        length = kShortest + static_cast<unsigned>((mixed >> 40) % kLengths);
        for (unsigned at = 0; at < sizeof text; at += 8)
            std::memcpy(text + at, &mixed, 8);
        hash = 0;
        for (unsigned at = 0; at < length; at += 8)
            hash = (hash ^ word(text + at)) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    static uint64_t word(const char *at)
    {
        uint64_t word;
        std::memcpy(&word, at, 8);
        return word;
    }

    char text[64];
    unsigned length;
    uint64_t hash;
};

template <class B> class Map
{
  public:
    struct Node {
        Node *next;
        char *key;
        uint64_t hash, length, value;
    };
    struct Unit {
        std::vector<Node *> buckets;
        std::vector<uint64_t> numbers; /* of the keys that are in */
    };

    Map(const MapShape &shape, uint64_t seed, bool) : entries_(shape.entries), random_(seed)
    {
    }
    uint64_t nodes() const
    {
        return entries_;
    }
    uint64_t nodes_least() const
    {
        return 0;
    }
    void prepare(Unit *unit)
    {
        size_t buckets = 1;
        while (buckets < entries_)
            buckets *= 2;
        unit->buckets.resize(buckets);
        unit->numbers.resize(entries_);
    }
    void make(B &backend, Unit *unit)
    {
        for (uint32_t i = 0; i < entries_; i++)
            put(backend, unit, i);
    }
    bool use(B &backend, Unit *unit, PartClock &clock)
    {
        uint32_t found = 0;
        for (uint32_t i = 0; i < entries_; i++)
            found += *find(unit, Key(unit->numbers[random_below(&random_, entries_)])) != nullptr;
        clock.begin(kDrop);
        for (uint32_t i = 0; i < entries_ / 2; i++) {
            std::swap(unit->numbers[i], unit->numbers[i + random_below(&random_, entries_ - i)]);
            remove(backend, unit, unit->numbers[i]);
        }
        clock.begin(kMake);
        for (uint32_t i = 0; i < entries_ / 2; i++)
            put(backend, unit, i);
        clock.begin(kUse);
        return found == entries_ && iterate(unit) == entries_;
    }
    void drop(B &backend, Unit *unit)
    {
        for (Node *&bucket : unit->buckets) {
            for (Node *node = bucket, *next; node; node = next) {
                next = node->next;
                release(backend, node);
            }
            bucket = nullptr;
        }
    }
    void finish(B &)
    {
    }

  private:
    /* A key that never was in, as number `i` of those that are. */
    void put(B &backend, Unit *unit, uint32_t i)
    {
        unit->numbers[i] = next_++;
        Key key(unit->numbers[i]);
        Node **link = find(unit, key);
        Node *node = static_cast<Node *>(backend.alloc(sizeof(Node), nullptr));
        char *text = static_cast<char *>(backend.alloc(key.length, nullptr));
        std::memcpy(text, key.text, key.length);
        *node = {*link, text, key.hash, key.length, unit->numbers[i]};
        *link = node;
    }
    /* The link to the node of this key, or the null link at the end of its bucket. */
    static Node **find(Unit *unit, const Key &key)
    {
        Node **link = &unit->buckets[key.hash & (unit->buckets.size() - 1)];
        while (*link && !((*link)->hash == key.hash && (*link)->length == key.length &&
                          std::memcmp((*link)->key, key.text, key.length) == 0))
            link = &(*link)->next;
        return link;
    }
    static void remove(B &backend, Unit *unit, uint64_t number)
    {
        Node **link = find(unit, Key(number));
        Node *node = *link;
        *link = node->next;
        release(backend, node);
    }
    static void release(B &backend, Node *node)
    {
        backend.free(node->key, node->length);
        backend.free(node, sizeof(Node));
    }
    static uint64_t iterate(const Unit *unit)
    {
        uint64_t count = 0, sum = 0;
        for (const Node *node : unit->buckets)
            for (; node; node = node->next) {
                count++;
                sum += node->value + Key::word(node->key);
            }
        keep(reinterpret_cast<const void *>(sum));
        return count;
    }

    const uint32_t entries_;
    uint64_t random_;
    uint64_t next_ = 0;
};

Row map(uint32_t entries, Set set)
{
    return row_of<Map>("map/" + std::to_string(entries), set, MapShape{entries});
}

const AddRow added[] = {
    AddRow(map(4000, Set::kL2)),
    AddRow(map(60000, Set::kL3)),
    AddRow(map(500000, Set::kBeyond)),
};

} // namespace

} // namespace bench::use
