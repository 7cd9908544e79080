// pyprof top: a live table of where a program spends its time, or that of a saved recording.
//
// The session is read by snapshots that reset it, so that each has one interval only, and a refresh costs what the
// interval has, not what the whole recording has. The model below adds them up by place and thread; all views, orders,
// filters and the choice of a thread are made of it, also while the display is paused.
#ifndef PYPROF_TOP_H
#define PYPROF_TOP_H
#include "../pyprof.h"
#include "pyprof_run.h"
#include <fnmatch.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

// ---- memory -------------------------------------------------------------------------
static void *top_grow(void *memory, size_t count, size_t *capacity, size_t size)   // room for one more than count
{
    if (count < *capacity) return memory;
    *capacity = *capacity ? 2 * *capacity : 64;
    memory = realloc(memory, *capacity * size);
    if (!memory) {
        cli_fail("no memory");
        exit(CLI_FAILED);
    }
    return memory;
}

static uint64_t top_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint64_t top_hash(uint64_t hash, const char *text)
{
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return top_mix(hash, 0);
}

// From a key that is not 0 to a number that is not 0.
struct top_map {
    uint64_t *keys;
    uint32_t *values;
    size_t count, capacity;
};

static uint32_t *top_map_at(struct top_map *map, uint64_t key)   // a value of 0 is to be filled in, or the key is removed by clearing
{
    struct top_map old = *map;
    size_t i;
    if (2 * (map->count + 1) > map->capacity) {
        map->capacity = old.capacity ? 2 * old.capacity : 256;
        map->count = 0;
        map->keys = calloc(map->capacity, sizeof *map->keys);
        map->values = calloc(map->capacity, sizeof *map->values);
        if (!map->keys || !map->values) exit(cli_fail("no memory"));
        for (i = 0; i < old.capacity; i++)
            if (old.keys[i]) *top_map_at(map, old.keys[i]) = old.values[i];
        free(old.keys);
        free(old.values);
    }
    key += !key;
    for (i = (size_t)top_mix(key, 1) & (map->capacity - 1); map->keys[i] && map->keys[i] != key; i = (i + 1) & (map->capacity - 1)) { }
    map->count += !map->keys[i];
    map->keys[i] = key;
    return &map->values[i];
}

static void top_map_clear(struct top_map *map)
{
    if (!map->count) return;
    memset(map->keys, 0, map->capacity * sizeof *map->keys);
    memset(map->values, 0, map->capacity * sizeof *map->values);
    map->count = 0;
}

static void top_map_free(struct top_map *map)
{
    free(map->keys);
    free(map->values);
    memset(map, 0, sizeof *map);
}

// ---- text on a terminal: how wide it is, and nothing that a terminal obeys ---------------
static const struct cli_range top_wide[] = {   // two cells: East Asian wide and emoji
    { 0x1100, 0x115f }, { 0x231a, 0x231b }, { 0x2329, 0x232a }, { 0x23e9, 0x23ec }, { 0x23f0, 0x23f0 }, { 0x23f3, 0x23f3 }, { 0x25fd, 0x25fe },
    { 0x2614, 0x2615 }, { 0x2648, 0x2653 }, { 0x267f, 0x267f }, { 0x2693, 0x2693 }, { 0x26a1, 0x26a1 }, { 0x26aa, 0x26ab }, { 0x26bd, 0x26be },
    { 0x26c4, 0x26c5 }, { 0x26ce, 0x26ce }, { 0x26d4, 0x26d4 }, { 0x26ea, 0x26ea }, { 0x26f2, 0x26f3 }, { 0x26f5, 0x26f5 }, { 0x26fa, 0x26fa },
    { 0x26fd, 0x26fd }, { 0x2705, 0x2705 }, { 0x270a, 0x270b }, { 0x2728, 0x2728 }, { 0x274c, 0x274c }, { 0x274e, 0x274e }, { 0x2753, 0x2755 },
    { 0x2757, 0x2757 }, { 0x2795, 0x2797 }, { 0x27b0, 0x27b0 }, { 0x27bf, 0x27bf }, { 0x2b1b, 0x2b1c }, { 0x2b50, 0x2b50 }, { 0x2b55, 0x2b55 },
    { 0x2e80, 0x3029 }, { 0x302e, 0x303e }, { 0x3041, 0x3096 }, { 0x309b, 0x3247 }, { 0x3250, 0x4dbf }, { 0x4e00, 0xa4c6 }, { 0xa960, 0xa97c },
    { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff }, { 0xfe10, 0xfe19 }, { 0xfe30, 0xfe6b }, { 0xff01, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x16fe0, 0x16fe3 },
    { 0x16ff0, 0x18d08 }, { 0x1aff0, 0x1b2fb }, { 0x1f004, 0x1f004 }, { 0x1f0cf, 0x1f0cf }, { 0x1f18e, 0x1f18e }, { 0x1f191, 0x1f19a },
    { 0x1f200, 0x1f265 }, { 0x1f300, 0x1f320 }, { 0x1f32d, 0x1f335 }, { 0x1f337, 0x1f37c }, { 0x1f37e, 0x1f393 }, { 0x1f3a0, 0x1f3ca },
    { 0x1f3cf, 0x1f3d3 }, { 0x1f3e0, 0x1f3f0 }, { 0x1f3f4, 0x1f3f4 }, { 0x1f3f8, 0x1f43e }, { 0x1f440, 0x1f440 }, { 0x1f442, 0x1f4fc },
    { 0x1f4ff, 0x1f53d }, { 0x1f54b, 0x1f54e }, { 0x1f550, 0x1f567 }, { 0x1f57a, 0x1f57a }, { 0x1f595, 0x1f596 }, { 0x1f5a4, 0x1f5a4 },
    { 0x1f5fb, 0x1f64f }, { 0x1f680, 0x1f6c5 }, { 0x1f6cc, 0x1f6cc }, { 0x1f6d0, 0x1f6d2 }, { 0x1f6d5, 0x1f6df }, { 0x1f6eb, 0x1f6ec },
    { 0x1f6f4, 0x1f6fc }, { 0x1f7e0, 0x1f7f0 }, { 0x1f90c, 0x1f93a }, { 0x1f93c, 0x1f945 }, { 0x1f947, 0x1f9ff }, { 0x1fa70, 0x1faf8 },
    { 0x20000, 0x3fffd },
};
static const struct cli_range top_zero[] = {   // no cell: combining marks
    { 0x300, 0x36f }, { 0x483, 0x489 }, { 0x591, 0x5bd }, { 0x5bf, 0x5bf }, { 0x5c1, 0x5c2 }, { 0x5c4, 0x5c5 }, { 0x5c7, 0x5c7 }, { 0x610, 0x61a },
    { 0x64b, 0x65f }, { 0x670, 0x670 }, { 0x6d6, 0x6dc }, { 0x6df, 0x6e4 }, { 0x6e7, 0x6e8 }, { 0x6ea, 0x6ed }, { 0x711, 0x711 }, { 0x730, 0x74a },
    { 0x7a6, 0x7b0 }, { 0x7eb, 0x7f3 }, { 0x7fd, 0x7fd }, { 0x816, 0x819 }, { 0x81b, 0x823 }, { 0x825, 0x827 }, { 0x829, 0x82d }, { 0x859, 0x85b },
    { 0x898, 0x89f }, { 0x8ca, 0x8e1 }, { 0x8e3, 0x902 }, { 0x93a, 0x93a }, { 0x93c, 0x93c }, { 0x941, 0x948 }, { 0x94d, 0x94d }, { 0x951, 0x957 },
    { 0x962, 0x963 }, { 0x981, 0x981 }, { 0x9bc, 0x9bc }, { 0x9c1, 0x9c4 }, { 0x9cd, 0x9cd }, { 0x9e2, 0x9e3 }, { 0x9fe, 0xa02 }, { 0xa3c, 0xa3c },
    { 0xa41, 0xa51 }, { 0xa70, 0xa71 }, { 0xa75, 0xa75 }, { 0xa81, 0xa82 }, { 0xabc, 0xabc }, { 0xac1, 0xac8 }, { 0xacd, 0xacd }, { 0xae2, 0xae3 },
    { 0xafa, 0xb01 }, { 0xb3c, 0xb3c }, { 0xb3f, 0xb3f }, { 0xb41, 0xb44 }, { 0xb4d, 0xb56 }, { 0xb62, 0xb63 }, { 0xb82, 0xb82 }, { 0xbc0, 0xbc0 },
    { 0xbcd, 0xbcd }, { 0xc00, 0xc00 }, { 0xc04, 0xc04 }, { 0xc3c, 0xc3c }, { 0xc3e, 0xc40 }, { 0xc46, 0xc56 }, { 0xc62, 0xc63 }, { 0xc81, 0xc81 },
    { 0xcbc, 0xcbc }, { 0xcbf, 0xcbf }, { 0xcc6, 0xcc6 }, { 0xccc, 0xccd }, { 0xce2, 0xce3 }, { 0xd00, 0xd01 }, { 0xd3b, 0xd3c }, { 0xd41, 0xd44 },
    { 0xd4d, 0xd4d }, { 0xd62, 0xd63 }, { 0xd81, 0xd81 }, { 0xdca, 0xdca }, { 0xdd2, 0xdd6 }, { 0xe31, 0xe31 }, { 0xe34, 0xe3a }, { 0xe47, 0xe4e },
    { 0xeb1, 0xeb1 }, { 0xeb4, 0xebc }, { 0xec8, 0xece }, { 0xf18, 0xf19 }, { 0xf35, 0xf35 }, { 0xf37, 0xf37 }, { 0xf39, 0xf39 }, { 0xf71, 0xf7e },
    { 0xf80, 0xf84 }, { 0xf86, 0xf87 }, { 0xf8d, 0xfbc }, { 0xfc6, 0xfc6 }, { 0x102d, 0x1030 }, { 0x1032, 0x1037 }, { 0x1039, 0x103a },
    { 0x103d, 0x103e }, { 0x1058, 0x1059 }, { 0x105e, 0x1060 }, { 0x1071, 0x1074 }, { 0x1082, 0x1082 }, { 0x1085, 0x1086 }, { 0x108d, 0x108d },
    { 0x109d, 0x109d }, { 0x1160, 0x11ff }, { 0x135d, 0x135f }, { 0x1712, 0x1714 }, { 0x1732, 0x1733 }, { 0x1752, 0x1753 }, { 0x1772, 0x1773 },
    { 0x17b4, 0x17b5 }, { 0x17b7, 0x17bd }, { 0x17c6, 0x17c6 }, { 0x17c9, 0x17d3 }, { 0x17dd, 0x17dd }, { 0x180b, 0x180d }, { 0x180f, 0x180f },
    { 0x1885, 0x1886 }, { 0x18a9, 0x18a9 }, { 0x1920, 0x1922 }, { 0x1927, 0x1928 }, { 0x1932, 0x1932 }, { 0x1939, 0x193b }, { 0x1a17, 0x1a18 },
    { 0x1a1b, 0x1a1b }, { 0x1a56, 0x1a56 }, { 0x1a58, 0x1a60 }, { 0x1a62, 0x1a62 }, { 0x1a65, 0x1a6c }, { 0x1a73, 0x1a7f }, { 0x1ab0, 0x1b03 },
    { 0x1b34, 0x1b34 }, { 0x1b36, 0x1b3a }, { 0x1b3c, 0x1b3c }, { 0x1b42, 0x1b42 }, { 0x1b6b, 0x1b73 }, { 0x1b80, 0x1b81 }, { 0x1ba2, 0x1ba5 },
    { 0x1ba8, 0x1ba9 }, { 0x1bab, 0x1bad }, { 0x1be6, 0x1be6 }, { 0x1be8, 0x1be9 }, { 0x1bed, 0x1bed }, { 0x1bef, 0x1bf1 }, { 0x1c2c, 0x1c33 },
    { 0x1c36, 0x1c37 }, { 0x1cd0, 0x1cd2 }, { 0x1cd4, 0x1ce0 }, { 0x1ce2, 0x1ce8 }, { 0x1ced, 0x1ced }, { 0x1cf4, 0x1cf4 }, { 0x1cf8, 0x1cf9 },
    { 0x1dc0, 0x1dff }, { 0x20d0, 0x20f0 }, { 0x2cef, 0x2cf1 }, { 0x2d7f, 0x2d7f }, { 0x2de0, 0x2dff }, { 0x302a, 0x302d }, { 0x3099, 0x309a },
    { 0xa66f, 0xa672 }, { 0xa674, 0xa67d }, { 0xa69e, 0xa69f }, { 0xa6f0, 0xa6f1 }, { 0xa802, 0xa802 }, { 0xa806, 0xa806 }, { 0xa80b, 0xa80b },
    { 0xa825, 0xa826 }, { 0xa82c, 0xa82c }, { 0xa8c4, 0xa8c5 }, { 0xa8e0, 0xa8f1 }, { 0xa8ff, 0xa8ff }, { 0xa926, 0xa92d }, { 0xa947, 0xa951 },
    { 0xa980, 0xa982 }, { 0xa9b3, 0xa9b3 }, { 0xa9b6, 0xa9b9 }, { 0xa9bc, 0xa9bd }, { 0xa9e5, 0xa9e5 }, { 0xaa29, 0xaa2e }, { 0xaa31, 0xaa32 },
    { 0xaa35, 0xaa36 }, { 0xaa43, 0xaa43 }, { 0xaa4c, 0xaa4c }, { 0xaa7c, 0xaa7c }, { 0xaab0, 0xaab0 }, { 0xaab2, 0xaab4 }, { 0xaab7, 0xaab8 },
    { 0xaabe, 0xaabf }, { 0xaac1, 0xaac1 }, { 0xaaec, 0xaaed }, { 0xaaf6, 0xaaf6 }, { 0xabe5, 0xabe5 }, { 0xabe8, 0xabe8 }, { 0xabed, 0xabed },
    { 0xd7b0, 0xd7ff }, { 0xfb1e, 0xfb1e }, { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f }, { 0x101fd, 0x101fd }, { 0x102e0, 0x102e0 },
    { 0x10376, 0x1037a }, { 0x10a01, 0x10a0f }, { 0x10a38, 0x10a3f }, { 0x10ae5, 0x10ae6 }, { 0x10d24, 0x10d27 }, { 0x10eab, 0x10eac },
    { 0x10efd, 0x10eff }, { 0x10f46, 0x10f50 }, { 0x10f82, 0x10f85 }, { 0x11001, 0x11001 }, { 0x11038, 0x11046 }, { 0x11070, 0x11070 },
    { 0x11073, 0x11074 }, { 0x1107f, 0x11081 }, { 0x110b3, 0x110b6 }, { 0x110b9, 0x110ba }, { 0x110c2, 0x110c2 }, { 0x11100, 0x11102 },
    { 0x11127, 0x1112b }, { 0x1112d, 0x11134 }, { 0x11173, 0x11173 }, { 0x11180, 0x11181 }, { 0x111b6, 0x111be }, { 0x111c9, 0x111cc },
    { 0x111cf, 0x111cf }, { 0x1122f, 0x11231 }, { 0x11234, 0x11234 }, { 0x11236, 0x11237 }, { 0x1123e, 0x1123e }, { 0x11241, 0x11241 },
    { 0x112df, 0x112df }, { 0x112e3, 0x112ea }, { 0x11300, 0x11301 }, { 0x1133b, 0x1133c }, { 0x11340, 0x11340 }, { 0x11366, 0x11374 },
    { 0x11438, 0x1143f }, { 0x11442, 0x11444 }, { 0x11446, 0x11446 }, { 0x1145e, 0x1145e }, { 0x114b3, 0x114b8 }, { 0x114ba, 0x114ba },
    { 0x114bf, 0x114c0 }, { 0x114c2, 0x114c3 }, { 0x115b2, 0x115b5 }, { 0x115bc, 0x115bd }, { 0x115bf, 0x115c0 }, { 0x115dc, 0x115dd },
    { 0x11633, 0x1163a }, { 0x1163d, 0x1163d }, { 0x1163f, 0x11640 }, { 0x116ab, 0x116ab }, { 0x116ad, 0x116ad }, { 0x116b0, 0x116b5 },
    { 0x116b7, 0x116b7 }, { 0x1171d, 0x1171f }, { 0x11722, 0x11725 }, { 0x11727, 0x1172b }, { 0x1182f, 0x11837 }, { 0x11839, 0x1183a },
    { 0x1193b, 0x1193c }, { 0x1193e, 0x1193e }, { 0x11943, 0x11943 }, { 0x119d4, 0x119db }, { 0x119e0, 0x119e0 }, { 0x11a01, 0x11a0a },
    { 0x11a33, 0x11a38 }, { 0x11a3b, 0x11a3e }, { 0x11a47, 0x11a47 }, { 0x11a51, 0x11a56 }, { 0x11a59, 0x11a5b }, { 0x11a8a, 0x11a96 },
    { 0x11a98, 0x11a99 }, { 0x11c30, 0x11c3d }, { 0x11c3f, 0x11c3f }, { 0x11c92, 0x11ca7 }, { 0x11caa, 0x11cb0 }, { 0x11cb2, 0x11cb3 },
    { 0x11cb5, 0x11cb6 }, { 0x11d31, 0x11d45 }, { 0x11d47, 0x11d47 }, { 0x11d90, 0x11d91 }, { 0x11d95, 0x11d95 }, { 0x11d97, 0x11d97 },
    { 0x11ef3, 0x11ef4 }, { 0x11f00, 0x11f01 }, { 0x11f36, 0x11f3a }, { 0x11f40, 0x11f40 }, { 0x11f42, 0x11f42 }, { 0x13440, 0x13440 },
    { 0x13447, 0x13455 }, { 0x16af0, 0x16af4 }, { 0x16b30, 0x16b36 }, { 0x16f4f, 0x16f4f }, { 0x16f8f, 0x16f92 }, { 0x16fe4, 0x16fe4 },
    { 0x1bc9d, 0x1bc9e }, { 0x1cf00, 0x1cf46 }, { 0x1d167, 0x1d169 }, { 0x1d17b, 0x1d182 }, { 0x1d185, 0x1d18b }, { 0x1d1aa, 0x1d1ad },
    { 0x1d242, 0x1d244 }, { 0x1da00, 0x1da36 }, { 0x1da3b, 0x1da6c }, { 0x1da75, 0x1da75 }, { 0x1da84, 0x1da84 }, { 0x1da9b, 0x1daaf },
    { 0x1e000, 0x1e02a }, { 0x1e08f, 0x1e08f }, { 0x1e130, 0x1e136 }, { 0x1e2ae, 0x1e2ae }, { 0x1e2ec, 0x1e2ef }, { 0x1e4ec, 0x1e4ef },
    { 0x1e8d0, 0x1e8d6 }, { 0x1e944, 0x1e94a }, { 0xe0100, 0xe01ef },
};
static const struct cli_range top_dropped[] = {   // joiners and variants of emoji, about which terminals disagree
    { 0x200d, 0x200d }, { 0xfe00, 0xfe0f }, { 0x1f3fb, 0x1f3ff }, { 0xe0100, 0xe01ef },
};
static int top_code_width(uint32_t code)
{
    if (code < 0x300) return 1;
    return CLI_IN(top_zero, code) ? 0 : CLI_IN(top_wide, code) ? 2 : 1;
}

// What a terminal shall show of the next character: its bytes, and how many cells they take.
static int top_glyph(const char **text, int utf8, char shown[16])
{
    const char *from = *text;
    uint32_t code = cli_decode(text);
    size_t size = (size_t)(*text - from);
    if (code == 0xffffffff) return snprintf(shown, 16, "\\x%02x", (unsigned char)*from);
    if (CLI_IN(top_dropped, code)) size = 0;
    else if (code < 0x20 || code == 0x7f) return snprintf(shown, 16, "\\x%02x", code);
    else if (CLI_IN(cli_unshown, code) || (code & 0xfffe) == 0xfffe || (!utf8 && code > 0x7e))
        return snprintf(shown, 16, code > 0xffff ? "\\U%08x" : "\\u%04x", code);
    memcpy(shown, from, size);
    shown[size] = '\0';
    return size ? top_code_width(code) : 0;
}

static int top_text_width(const char *text, int utf8)
{
    int width = 0;
    char shown[16];
    while (*text) width += top_glyph(&text, utf8, shown);
    return width;
}

// ---- a line: bytes, and the cells they take ----------------------------------------------
struct top_line {
    char *data;
    size_t size, capacity;
    int cells, limit;              // limit: cells there are
    int utf8, colour, escapes;     // what the terminal can; escapes 0: plain text
};
enum top_style { TOP_PLAIN, TOP_BOLD, TOP_DIM, TOP_REVERSE, TOP_REVERSE_BOLD, TOP_HOT, TOP_WARM, TOP_GOOD };

static void top_raw(struct top_line *line, const char *data, size_t size)
{
    while (line->size + size + 1 > line->capacity) line->data = top_grow(line->data, line->capacity, &line->capacity, 1);
    if (size) memcpy(line->data + line->size, data, size);
    line->size += size;
    line->data[line->size] = '\0';
}

static void top_style(struct top_line *line, enum top_style style)
{
    static const char *const codes[] = { "\33[0m", "\33[0;1m", "\33[0;2m", "\33[0;7m", "\33[0;1;7m", "\33[0;31m", "\33[0;33m", "\33[0;32m" };
    if (!line->escapes || (style >= TOP_HOT && !line->colour)) return;
    top_raw(line, codes[style], strlen(codes[style]));
}

static void top_spaces(struct top_line *line, int count)
{
    for (; count > 0 && line->cells < line->limit; count--, line->cells++) top_raw(line, " ", 1);
}

// At most `most` cells of a text; what is cut off is told by the last cell.
static void top_put(struct top_line *line, const char *text, int most)
{
    const char *more = line->utf8 ? "\xe2\x80\xa6" : "~";
    int room = line->limit - line->cells, used = 0, marks = 0, whole;
    if (most < room) room = most;
    whole = room > 0 && top_text_width(text, line->utf8) <= room;
    while (*text && room > 0) {
        char shown[16];
        int width = top_glyph(&text, line->utf8, shown);
        if (!whole && used + width > room - 1) {
            top_raw(line, more, strlen(more));
            for (used++; used < room; used++) top_raw(line, " ", 1);   // half of a wide character: nothing comes after it
            break;
        }
        marks = width ? 0 : marks + 1;
        if (marks <= 4) top_raw(line, shown, strlen(shown));   // more of them would reach the lines above
        used += width;
    }
    line->cells += used;
}

__attribute__((format(printf, 2, 3)))
static void top_format(struct top_line *line, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    top_put(line, text, INT32_MAX);
}

static void top_right(struct top_line *line, const char *text, int width)
{
    top_spaces(line, width - top_text_width(text, line->utf8));
    top_put(line, text, width);
}

// ---- numbers -----------------------------------------------------------------------------
static void top_percent(char text[24], double part, double whole)
{
    double value = whole > 0 ? 100 * part / whole : 0;
    if (whole <= 0) snprintf(text, 24, "-");
    else snprintf(text, 24, value < 999.95 ? "%.1f%%" : "%.0f%%", value);
}

static void top_seconds(char text[24], double seconds)
{
    snprintf(text, 24, seconds < 999.995 ? "%.2fs" : seconds < 99999 ? "%.1fs" : "%.0fs", seconds);
}

static void top_bytes(char text[24], double bytes)
{
    static const char units[] = "BKMGTP";
    int unit = 0;
    for (; unit < 5 && (bytes >= 999.95 || bytes <= -999.95); unit++) bytes /= 1024;
    snprintf(text, 24, unit ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
}

static void top_clock(char text[64], double seconds)
{
    long all = (long)seconds, days = all / 86400;
    if (seconds < 60) snprintf(text, 64, "%.2fs", seconds);
    else if (days) snprintf(text, 64, "%ldd%ld:%02ld:%02ld", days, all / 3600 % 24, all / 60 % 60, all % 60);
    else snprintf(text, 64, "%ld:%02ld:%02ld", all / 3600, all / 60 % 60, all % 60);
}

// ---- facts of a process from /proc -------------------------------------------------------
static int64_t top_resident(int64_t pid)   // 0 = unknown
{
    char path[64];
    long long pages = 0;
    FILE *file;
    snprintf(path, sizeof path, "/proc/%lld/statm", (long long)pid);
    file = fopen(path, "r");
    if (!file) return 0;
    if (fscanf(file, "%*d %lld", &pages) != 1) pages = 0;
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

// The state letter of a process and its start in clock ticks after boot; 0 = there is no such process, or it is dead.
static int top_alive(int64_t pid, unsigned long long *start)
{
    char path[64], text[1024], *at, state = 'X';
    size_t size;
    FILE *file;
    *start = 0;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    file = fopen(path, "r");
    if (!file) return 0;
    size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    at = strrchr(text, ')');
    if (!at || sscanf(at + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &state, start) != 2) return 0;
    return state != 'X' && state != 'Z' ? state : 0;
}

static double top_uptime(unsigned long long start)   // seconds since a process began
{
    double seconds = 0;
    FILE *file = fopen("/proc/uptime", "r");
    if (!file) return 0;
    if (fscanf(file, "%lf", &seconds) != 1) seconds = 0;
    fclose(file);
    seconds -= (double)start / (double)sysconf(_SC_CLK_TCK);
    return seconds > 0 ? seconds : 0;
}

// ---- the model: times by place and thread -----------------------------------------------------
enum {
    TOP_WALL, TOP_IDLE, TOP_WAIT, TOP_CPU, TOP_GIL, TOP_NATIVE, TOP_GIL_WAIT, TOP_TIMES,
    TOP_LIVE = TOP_TIMES, TOP_BLOCKS, TOP_PEAK, TOP_ALLOC, TOP_TEMP, TOP_METRICS
};
static const int top_metrics[TOP_METRICS] = {
    PYPROF_WALL_NS, PYPROF_IDLE_NS, PYPROF_WAIT_NS, PYPROF_CPU_NS, PYPROF_GIL_NS, PYPROF_NATIVE_NS, PYPROF_GIL_WAIT_NS,
    PYPROF_LIVE_BYTES, PYPROF_LIVE_BLOCKS, PYPROF_PEAK_BYTES, PYPROF_ALLOC_BYTES, PYPROF_TEMP_BLOCKS
};
enum { TOP_SELF, TOP_TOTAL };
enum top_group { TOP_BY_THREAD, TOP_BY_FUNCTION, TOP_BY_LINE, TOP_BY_WAIT };
enum { TOP_MOST_VALUES = 500000, TOP_SLOTS = 60 };

struct top_place {                 // a function, a line, what threads wait for; the first: nothing, for a thread as a whole
    enum top_group group;
    int32_t line;
    const char *name, *file;       // interned
    uint32_t row, stamp;           // in the table of that stamp
};
struct top_value {                 // of a thread at a place
    uint32_t place, thread;
    uint32_t stack, interval, change;   // the last stack and interval it was part of, and its change in the interval
    int64_t whole[2][TOP_METRICS], recent[2][TOP_TIMES];
};
struct top_change { uint32_t value; int64_t by[2][TOP_TIMES]; };
struct top_interval { double seconds; size_t changes; };
struct top_thread {
    uint64_t tid, ident;
    int64_t interpreter;
    const char *name;
    uint32_t process, row, stamp, interval;   // interval: the last that it was seen in
    uint32_t at, leaf;             // places: its line at the end of the interval, and what it waited for; 0 = unknown
    char state;                    // running, native, waiting, idle, GIL, unknown: the first letter
};
struct top_process {
    const char *name;
    int64_t pid;
    uint32_t row, stamp;
};
struct top_slot { double seconds, cpu, gil; };   // of the last minute

struct top_model {
    struct top_place *places;
    struct top_value *values;
    struct top_thread *threads;
    struct top_process *processes;
    struct top_change *changes;    // of the intervals below, one after the other
    struct top_interval *intervals;
    size_t place_count, place_capacity, value_count, value_capacity, thread_count, thread_capacity, process_count, process_capacity,
           change_count, change_capacity, interval_count, interval_capacity, string_count, string_capacity;
    char **strings;
    struct top_map string_map, place_map, value_map, thread_map, frame_map;   // frame_map: of one profile, by addresses
    uint32_t stack, interval;
    int saved, ended;              // a recording: memory counts, too; the process has ended, as the session says
    int64_t pid, resident;
    char program[128], python[32];
    int free_threaded, heap;
    double start, whole_s, recent_s, window_s, rate_hz;
    uint64_t asked, lost, samples;
    double cpu_ns, gil_ns;         // of the recent intervals
    struct { double seconds, cpu, gil; } *loads;   // of each of the intervals
    size_t load_capacity;
    struct top_slot slots[TOP_SLOTS];
    long slot;                     // number of the newest
    double slot_s, begin_s;        // how long one is; of a recording: when the first begins
    char degraded[256];
};

// ---- the last minute ----------------------------------------------------------------------
// CPU and GIL seconds of a time that begins `from` seconds after the start, into the slots of the last minute.
static void top_load_add(struct top_model *model, double from, double seconds, double cpu, double gil)
{
    double begin = from / model->slot_s, end = (from + seconds) / model->slot_s;
    long first = begin > 0 ? (long)begin : 0, last = end > 0 ? (long)end : 0;
    if (seconds <= 0) return;
    if (last - first >= TOP_SLOTS) first = last - TOP_SLOTS + 1;
    for (; model->slot < last; model->slot++) memset(&model->slots[(model->slot + 1) % TOP_SLOTS], 0, sizeof *model->slots);
    for (long at = first; at <= last; at++) {
        double part = (end < (double)(at + 1) ? end : (double)(at + 1)) - (begin > (double)at ? begin : (double)at);
        struct top_slot *slot = &model->slots[at % TOP_SLOTS];
        if (at <= model->slot - TOP_SLOTS || part <= 0) continue;
        slot->seconds += part * model->slot_s;
        slot->cpu += cpu * part / (end - begin);
        slot->gil += gil * part / (end - begin);
    }
}

// ---- names, places, values ------------------------------------------------------------
static const char *top_intern(struct top_model *model, const char *text)
{
    uint64_t hash = top_hash(14695981039346656037u, text);
    for (;; hash++) {
        uint32_t *at = top_map_at(&model->string_map, hash);
        if (*at && strcmp(model->strings[*at - 1], text)) continue;
        if (!*at) {
            model->strings = top_grow(model->strings, model->string_count, &model->string_capacity, sizeof *model->strings);
            model->strings[model->string_count] = strdup(text);
            if (!model->strings[model->string_count]) exit(cli_fail("no memory"));
            *at = (uint32_t)++model->string_count;
        }
        return model->strings[*at - 1];
    }
}

static uint32_t top_place_of(struct top_model *model, enum top_group group, const char *name, const char *file, int32_t line)
{
    struct top_place place = { group, line, top_intern(model, name), top_intern(model, file), 0, 0 };
    uint64_t hash = top_mix(top_mix(top_mix((uint64_t)group, (uint32_t)line), (uintptr_t)place.name), (uintptr_t)place.file);
    for (;; hash++) {
        uint32_t *at = top_map_at(&model->place_map, hash);
        const struct top_place *found = *at ? &model->places[*at] : NULL;
        if (found && found->group == group && found->line == line && found->name == place.name && found->file == place.file) return *at;
        if (found) continue;
        model->places = top_grow(model->places, model->place_count, &model->place_capacity, sizeof *model->places);
        model->places[model->place_count] = place;
        return *at = (uint32_t)model->place_count++;
    }
}

static void top_model_init(struct top_model *model, int64_t pid, int saved)
{
    memset(model, 0, sizeof *model);
    model->pid = pid;
    model->saved = saved;
    model->window_s = model->slot_s = 1;
    model->places = top_grow(NULL, 0, &model->place_capacity, sizeof *model->places);
    memset(model->places, 0, sizeof *model->places);
    model->places[0].name = model->places[0].file = "";
    model->place_count = 1;
    model->processes = top_grow(NULL, 0, &model->process_capacity, sizeof *model->processes);
    memset(model->processes, 0, sizeof *model->processes);
    model->processes[0].name = "";
    model->processes[0].pid = pid;
    model->process_count = 1;
}

static void top_model_free(struct top_model *model)
{
    for (size_t i = 0; i < model->string_count; i++) free(model->strings[i]);
    void *const all[] = { model->strings, model->places, model->values, model->threads, model->processes, model->changes, model->intervals,
                          model->loads };
    for (size_t i = 0; i < CLI_COUNT(all); i++) free(all[i]);
    struct top_map *const maps[] = { &model->string_map, &model->place_map, &model->value_map, &model->thread_map, &model->frame_map };
    for (size_t i = 0; i < CLI_COUNT(maps); i++) top_map_free(maps[i]);
}

static struct top_value *top_value_of(struct top_model *model, uint32_t place, uint32_t thread)
{
    uint32_t *at;
    struct top_value *value;
    if (model->value_count >= TOP_MOST_VALUES && model->places[place].group != TOP_BY_THREAD) {   // what else there is has one row
        uint32_t others = top_place_of(model, model->places[place].group, "<others>", "", 0);
        at = top_map_at(&model->value_map, ((uint64_t)place + 1) << 32 | thread);
        if (!*at) place = others;
    }
    at = top_map_at(&model->value_map, ((uint64_t)place + 1) << 32 | thread);
    if (*at) return &model->values[*at - 1];
    model->values = top_grow(model->values, model->value_count, &model->value_capacity, sizeof *model->values);
    value = &model->values[model->value_count++];
    *at = (uint32_t)model->value_count;
    memset(value, 0, sizeof *value);
    value->place = place;
    value->thread = thread;
    return value;
}

static void top_value_add(struct top_model *model, struct top_value *value, int which, const int64_t *metrics)
{
    struct top_change *change;
    if (value->interval != model->interval) {
        value->interval = model->interval;
        value->change = (uint32_t)model->change_count;
        model->changes = top_grow(model->changes, model->change_count, &model->change_capacity, sizeof *model->changes);
        change = &model->changes[model->change_count++];
        memset(change, 0, sizeof *change);
        change->value = (uint32_t)(value - model->values);
    }
    change = &model->changes[value->change];
    for (int i = 0; i < TOP_METRICS; i++) {
        if (i >= TOP_TIMES && !model->saved) break;
        value->whole[which][i] += metrics[top_metrics[i]];
        if (i < TOP_TIMES) value->recent[which][i] += metrics[top_metrics[i]];
        if (i < TOP_TIMES) change->by[which][i] += metrics[top_metrics[i]];
    }
}

static uint32_t top_process_of(struct top_model *model, const char *label)   // "app (4242)", or NULL
{
    const char *open = label ? strrchr(label, '(') : NULL;
    int64_t pid = open ? strtoll(open + 1, NULL, 10) : model->pid;
    uint32_t i = 0;
    if (!label) return 0;
    if (!model->processes[0].pid) model->processes[0].pid = pid;
    // Two recordings may be of the same pid, and have other labels then; a live process may get another name.
    while (i < model->process_count && (model->processes[i].pid != pid
        || (model->saved && *model->processes[i].name && strcmp(model->processes[i].name, label)))) i++;
    if (i == model->process_count) {
        model->processes = top_grow(model->processes, model->process_count, &model->process_capacity, sizeof *model->processes);
        memset(&model->processes[model->process_count++], 0, sizeof *model->processes);
        model->processes[i].pid = pid;
    }
    model->processes[i].name = top_intern(model, label);
    return i;
}

static uint32_t top_thread_of(struct top_model *model, const pyprof_thread *thread)
{
    uint32_t process = top_process_of(model, thread->process);   // recordings that were merged may have threads of the same numbers
    for (uint64_t hash = top_mix(top_mix(process, thread->ident), thread->thread_id);; hash++) {
        uint32_t *at = top_map_at(&model->thread_map, hash);
        const struct top_thread *found = *at ? &model->threads[*at - 1] : NULL;
        if (found && (found->process != process || found->tid != thread->thread_id || found->ident != thread->ident
                      || found->interpreter != thread->interpreter)) continue;
        if (found) return *at - 1;
        model->threads = top_grow(model->threads, model->thread_count, &model->thread_capacity, sizeof *model->threads);
        memset(&model->threads[model->thread_count], 0, sizeof *model->threads);
        model->threads[model->thread_count].tid = thread->thread_id;
        model->threads[model->thread_count].ident = thread->ident;
        model->threads[model->thread_count].interpreter = thread->interpreter;
        model->threads[model->thread_count].process = process;
        return (*at = (uint32_t)++model->thread_count) - 1;
    }
}

// The places of a frame: its function and its line, looked up once for each profile.
static void top_frame_places(struct top_model *model, const pyprof_frame *frame, uint32_t places[2])
{
    uint64_t key = top_mix(top_mix(top_mix(top_mix(7, (uintptr_t)frame->qualname), (uintptr_t)frame->file), (uint32_t)frame->line),
                           (uint32_t)frame->first_line);
    uint32_t *at = top_map_at(&model->frame_map, key);
    if (!*at) *at = top_place_of(model, TOP_BY_LINE, frame->qualname, frame->file, frame->line);
    places[1] = *at;
    at = top_map_at(&model->frame_map, top_mix(key, 11));
    if (!*at) *at = top_place_of(model, TOP_BY_FUNCTION, frame->qualname, frame->file, frame->first_line);
    places[0] = *at;
}

static int top_is_leaf(const pyprof_frame *frame)
{
    return frame->kind == PYPROF_KIND_WAIT || frame->kind == PYPROF_KIND_NATIVE;
}

static void top_see_stack(struct top_model *model, const pyprof_item *item)
{
    uint32_t thread = top_thread_of(model, item->thread);
    size_t own = item->depth;
    while (own > 1 && top_is_leaf(&item->stack[own - 1])) own--;   // a leaf's own time is its caller's
    model->stack++;
    for (size_t i = 0; i < own; i++) {
        uint32_t places[2];
        top_frame_places(model, &item->stack[i], places);
        for (int group = 0; group < 2; group++) {
            struct top_value *value = top_value_of(model, places[group], thread);
            if (value->stack != model->stack) top_value_add(model, value, TOP_TOTAL, item->self);   // once, however deep it recurs
            value->stack = model->stack;
            if (i == own - 1) top_value_add(model, value, TOP_SELF, item->self);
        }
    }
    for (size_t i = own; i < item->depth; i++)
        if (item->stack[i].kind == PYPROF_KIND_WAIT) {
            uint32_t place = top_place_of(model, TOP_BY_WAIT, item->stack[i].name, "", 0);
            top_value_add(model, top_value_of(model, place, thread), TOP_SELF, item->self);
            top_value_add(model, top_value_of(model, place, thread), TOP_TOTAL, item->self);
        }
}

static void top_see_thread(struct top_model *model, const pyprof_item *item)
{
    uint32_t at = top_thread_of(model, item->thread);
    struct top_thread *thread = &model->threads[at];
    thread->name = top_intern(model, item->thread->name);
    thread->state = 0;
    thread->interval = model->interval;
    top_value_add(model, top_value_of(model, 0, at), TOP_SELF, item->total);
    top_value_add(model, top_value_of(model, 0, at), TOP_TOTAL, item->total);
}

// An entry of the time line: the last of each thread tells what it does now.
static void top_see_state(struct top_model *model, const pyprof_item *item)
{
    struct top_thread *thread = &model->threads[top_thread_of(model, item->thread)];
    size_t own = item->depth;
    const int64_t *self = item->self;
    uint32_t places[2];
    if (model->saved && self[PYPROF_WALL_NS] > 0)
        top_load_add(model, item->timestamp - model->start - model->begin_s, 1e-9 * (double)self[PYPROF_WALL_NS],
                     1e-9 * (double)self[PYPROF_CPU_NS], 1e-9 * (double)self[PYPROF_GIL_NS]);
    thread->state = self[PYPROF_UNKNOWN_NS] > 0 ? 'u' : self[PYPROF_GIL_WAIT_NS] > 0 ? 'G' : self[PYPROF_IDLE_NS] > 0 ? 'i'
        : self[PYPROF_WAIT_NS] > 0 ? 'w' : self[PYPROF_NATIVE_NS] > 0 ? 'n' : 'r';
    thread->at = thread->leaf = 0;
    while (own > 1 && top_is_leaf(&item->stack[own - 1])) own--;
    if (!own) return;
    top_frame_places(model, &item->stack[own - 1], places);
    thread->at = places[1];
    if (item->stack[item->depth - 1].kind == PYPROF_KIND_WAIT)
        thread->leaf = top_place_of(model, TOP_BY_WAIT, item->stack[item->depth - 1].name, "", 0);
}

static int top_see(void *user, const pyprof_item *item)
{
    struct top_model *model = user;
    if (item->kind == PYPROF_ITEM_THREAD) top_see_thread(model, item);
    if (item->kind == PYPROF_ITEM_STACK) top_see_stack(model, item);
    if (item->kind == PYPROF_ITEM_STATE) top_see_state(model, item);
    if (item->kind == PYPROF_ITEM_MEMORY && model->saved) model->resident = item->process->resident_bytes;
    return 0;
}

// ---- from a profile into the model -----------------------------------------------------------
static void top_expire(struct top_model *model)   // forget intervals that the window does not need
{
    size_t intervals = 0, changes = 0;
    while (intervals + 1 < model->interval_count && model->recent_s - model->intervals[intervals].seconds >= model->window_s - 1e-3) {
        struct top_interval *interval = &model->intervals[intervals];
        for (size_t i = 0; i < interval->changes; i++) {
            struct top_change *change = &model->changes[changes + i];
            for (int which = 0; which < 2; which++)
                for (int metric = 0; metric < TOP_TIMES; metric++)
                    model->values[change->value].recent[which][metric] -= change->by[which][metric];
        }
        model->recent_s -= interval->seconds;
        model->cpu_ns -= model->loads[intervals].cpu;
        model->gil_ns -= model->loads[intervals].gil;
        changes += interval->changes;
        intervals++;
    }
    if (!intervals) return;
    model->interval_count -= intervals;
    model->change_count -= changes;
    memmove(model->intervals, model->intervals + intervals, model->interval_count * sizeof *model->intervals);
    memmove(model->loads, model->loads + intervals, model->interval_count * sizeof *model->loads);
    memmove(model->changes, model->changes + changes, model->change_count * sizeof *model->changes);
}

static void top_facts(struct top_model *model, const pyprof_info *info, const pyprof_stats *stats)
{
    snprintf(model->program, sizeof model->program, "%s", info->program);
    snprintf(model->python, sizeof model->python, "%s", info->python);
    if (!model->pid && info->recordings == 1) model->pid = model->processes[0].pid = info->pid;
    model->free_threaded = info->free_threaded;
    model->heap = info->heap;
    model->start = info->start;
    model->rate_hz = info->rate_hz;
    model->asked += stats->asked;
    model->samples += stats->samples;
    model->lost += stats->missed + stats->rejected;
    model->ended = stats->ended;
    snprintf(model->degraded, sizeof model->degraded, "%s", stats->degraded);
}

static int top_model_add(struct top_model *model, const pyprof_profile *profile, const pyprof_query *query)   // 0 = failed
{
    pyprof_info info;
    pyprof_stats stats;
    size_t before = model->change_count;
    double cpu, gil;
    if (pyprof_profile_info(profile, &info) != PYPROF_OK || pyprof_profile_stats(profile, &stats) != PYPROF_OK) return 0;
    top_facts(model, &info, &stats);
    model->interval++;
    if (model->saved) model->slot_s = (info.duration_s > 60 ? 60 : info.duration_s + 1e-6) / TOP_SLOTS;
    if (model->saved) model->begin_s = info.duration_s > 60 ? info.duration_s - 60 : 0;
    top_map_clear(&model->frame_map);
    if (pyprof_visit(profile, query, top_see, model) != PYPROF_OK) return 0;
    cpu = (double)info.total[PYPROF_CPU_NS];
    gil = (double)info.total[PYPROF_GIL_NS];
    model->intervals = top_grow(model->intervals, model->interval_count, &model->interval_capacity, sizeof *model->intervals);
    model->loads = top_grow(model->loads, model->interval_count, &model->load_capacity, sizeof *model->loads);
    model->intervals[model->interval_count].seconds = info.duration_s;
    model->intervals[model->interval_count].changes = model->change_count - before;
    model->loads[model->interval_count].cpu = cpu;
    model->loads[model->interval_count].gil = gil;
    model->interval_count++;
    if (!model->saved) top_load_add(model, model->whole_s, info.duration_s, 1e-9 * cpu, 1e-9 * gil);
    model->whole_s += info.duration_s;
    model->recent_s += info.duration_s;
    model->cpu_ns += cpu;
    model->gil_ns += gil;
    for (int i = 0; i < TOP_SLOTS && model->saved; i++) model->slots[i].seconds = model->slot_s;   // however many threads it has
    if (!model->saved) top_expire(model);
    return 1;
}

static void top_model_reset(struct top_model *model)   // forgets all times; places and threads stay
{
    for (size_t i = 0; i < model->value_count; i++) {
        memset(model->values[i].whole, 0, sizeof model->values[i].whole);
        memset(model->values[i].recent, 0, sizeof model->values[i].recent);
    }
    memset(model->slots, 0, sizeof model->slots);
    model->change_count = model->interval_count = 0;
    model->whole_s = model->recent_s = model->cpu_ns = model->gil_ns = 0;
    model->asked = model->lost = model->samples = 0;
    model->slot = 0;
}

// ---- views, columns, what the user chose -------------------------------------------------------
enum top_view { TOP_FUNCTIONS, TOP_LINES, TOP_THREADS, TOP_PROCESSES, TOP_WAITS, TOP_MEMORY, TOP_VIEWS };
enum top_column {
    TOP_COL_OWN_RECENT, TOP_COL_TOTAL_RECENT, TOP_COL_OWN, TOP_COL_TOTAL, TOP_COL_CPU, TOP_COL_GIL, TOP_COL_WAIT, TOP_COL_GIL_WAIT,
    TOP_COL_LIVE, TOP_COL_BLOCKS, TOP_COL_PEAK, TOP_COL_ALLOC, TOP_COL_TEMP, TOP_COL_STATE, TOP_COL_TID, TOP_COL_RESIDENT, TOP_COL_THREADS,
    TOP_COL_PID, TOP_COLUMNS, TOP_END = TOP_COLUMNS
};
static const struct { const char *title, *alone; int width; } top_columns[TOP_COLUMNS] = {   // alone: where own and total are the same
    { "%Own", "%Time", 7 }, { "%Total", "%Time", 7 }, { "OwnTime", "Time", 9 }, { "TotalTime", "Time", 10 }, { "%CPU", NULL, 7 },
    { "%GIL", NULL, 7 }, { "%Wait", NULL, 7 }, { "%GILwait", NULL, 9 }, { "Live", NULL, 8 }, { "Blocks", NULL, 9 }, { "Peak", NULL, 8 },
    { "Alloc", NULL, 8 }, { "Temp", NULL, 9 }, { "State", NULL, 8 }, { "TID", NULL, 8 }, { "RSS", NULL, 8 }, { "Threads", NULL, 8 },
    { "PID", NULL, 8 }
};
static const struct { const char *name; char key; enum top_group group; unsigned char columns[10]; } top_views[TOP_VIEWS] = {
    { "functions", 'f', TOP_BY_FUNCTION, { TOP_COL_OWN_RECENT, TOP_COL_TOTAL_RECENT, TOP_COL_OWN, TOP_COL_TOTAL, TOP_COL_CPU, TOP_COL_GIL,
                                           TOP_COL_WAIT, TOP_COL_GIL_WAIT, TOP_END } },
    { "lines", 'l', TOP_BY_LINE, { TOP_COL_OWN_RECENT, TOP_COL_TOTAL_RECENT, TOP_COL_OWN, TOP_COL_TOTAL, TOP_COL_CPU, TOP_COL_GIL, TOP_COL_WAIT,
                                   TOP_COL_GIL_WAIT, TOP_END } },
    { "threads", 't', TOP_BY_THREAD, { TOP_COL_OWN_RECENT, TOP_COL_CPU, TOP_COL_GIL, TOP_COL_WAIT, TOP_COL_STATE, TOP_COL_OWN, TOP_COL_TID,
                                       TOP_COL_GIL_WAIT, TOP_END } },
    { "processes", 'p', TOP_BY_THREAD, { TOP_COL_OWN_RECENT, TOP_COL_CPU, TOP_COL_GIL, TOP_COL_WAIT, TOP_COL_RESIDENT, TOP_COL_THREADS, TOP_COL_PID,
                                         TOP_COL_OWN, TOP_END } },
    { "waits", 'w', TOP_BY_WAIT, { TOP_COL_OWN_RECENT, TOP_COL_OWN, TOP_END } },
    { "memory", 'm', TOP_BY_FUNCTION, { TOP_COL_LIVE, TOP_COL_BLOCKS, TOP_COL_PEAK, TOP_COL_ALLOC, TOP_COL_TEMP, TOP_END } },
};
static const struct { char key; const char *what; enum top_column columns[3]; } top_orders[] = {   // a key pressed again takes the next
    { 'S', "self", { TOP_COL_OWN_RECENT, TOP_COL_OWN, TOP_END } }, { 'T', "total", { TOP_COL_TOTAL_RECENT, TOP_COL_TOTAL, TOP_END } },
    { 'C', "CPU", { TOP_COL_CPU, TOP_END, TOP_END } }, { 'G', "GIL", { TOP_COL_GIL, TOP_COL_GIL_WAIT, TOP_END } },
    { 'W', "waiting", { TOP_COL_WAIT, TOP_END, TOP_END } }, { 'M', "memory", { TOP_COL_LIVE, TOP_COL_PEAK, TOP_COL_ALLOC } },
};

struct top_row {
    uint32_t place, thread, process;
    double key;
    int threads;
    int64_t whole[2][TOP_METRICS], recent[2][TOP_TIMES];
};

struct top_ui {
    struct top_model model;
    enum top_view view;
    enum top_column sort[TOP_VIEWS];
    int ascending, states;         // pyprof_states
    int focus_thread, focus_process;   // -1 = all
    char filter[128], message[256], ended[160];
    int editing, help, paused, quit;
    double delay_s;
    size_t cursor, scroll, page;
    uint64_t picked;               // the row under the cursor, if it is not the first
    struct top_row *rows;
    size_t row_count, row_capacity;
    uint32_t stamp;
    pyprof_query query;
    const struct cli_options *options;
    pyprof *session;
    unsigned long long born;       // start of the process
    pid_t child;
    int child_status, child_out;
    double next;                   // refresh
    int width, height, utf8, colour;
    struct top_line *shown;        // the lines on the screen
    size_t shown_count, shown_capacity;
};

static int64_t top_counted(const struct top_ui *ui, const int64_t *times)   // the time that counts
{
    if (ui->view == TOP_WAITS) return times[TOP_WALL];
    switch (ui->states) {
    case PYPROF_STATES_ALL: return times[TOP_WALL];
    case PYPROF_STATES_RUNNING: return times[TOP_WALL] - times[TOP_WAIT];
    case PYPROF_STATES_WAITING: return times[TOP_WAIT] - times[TOP_IDLE];
    case PYPROF_STATES_GIL: return times[TOP_GIL];
    case PYPROF_STATES_NATIVE: return times[TOP_NATIVE];
    default: return times[TOP_WALL] - times[TOP_IDLE];
    }
}

static double top_number(const struct top_ui *ui, const struct top_row *row, enum top_column column)
{
    const struct top_thread *thread = ui->view == TOP_THREADS ? &ui->model.threads[row->thread] : NULL;
    switch (column) {
    case TOP_COL_OWN_RECENT: return (double)top_counted(ui, row->recent[TOP_SELF]);
    case TOP_COL_TOTAL_RECENT: return (double)top_counted(ui, row->recent[TOP_TOTAL]);
    case TOP_COL_OWN: return (double)top_counted(ui, row->whole[TOP_SELF]);
    case TOP_COL_TOTAL: return (double)top_counted(ui, row->whole[TOP_TOTAL]);
    case TOP_COL_CPU: return (double)row->recent[TOP_SELF][TOP_CPU];
    case TOP_COL_GIL: return (double)row->recent[TOP_SELF][TOP_GIL];
    case TOP_COL_WAIT: return (double)row->recent[TOP_SELF][TOP_WAIT];
    case TOP_COL_GIL_WAIT: return (double)row->recent[TOP_SELF][TOP_GIL_WAIT];
    case TOP_COL_LIVE: return (double)row->whole[TOP_SELF][TOP_LIVE];
    case TOP_COL_BLOCKS: return (double)row->whole[TOP_SELF][TOP_BLOCKS];
    case TOP_COL_PEAK: return (double)row->whole[TOP_SELF][TOP_PEAK];
    case TOP_COL_ALLOC: return (double)row->whole[TOP_SELF][TOP_ALLOC];
    case TOP_COL_TEMP: return (double)row->whole[TOP_SELF][TOP_TEMP];
    case TOP_COL_STATE: return thread ? (double)thread->state : 0;
    case TOP_COL_TID: return thread ? (double)thread->tid : 0;
    case TOP_COL_RESIDENT: return (double)(ui->model.saved ? ui->model.resident : top_resident(ui->model.processes[row->process].pid));
    case TOP_COL_THREADS: return row->threads;
    case TOP_COL_PID: return (double)ui->model.processes[row->process].pid;
    default: return 0;
    }
}

static const char *top_state_name(const struct top_ui *ui, const struct top_thread *thread)
{
    if (thread->interval != ui->model.interval) return "ended";
    switch (thread->state) {
    case 'r': return "running";
    case 'n': return "in C";
    case 'w': return "waiting";
    case 'i': return "idle";
    case 'G': return "GIL";
    case 'u': return "unknown";
    default: return "-";
    }
}

static void top_cell(const struct top_ui *ui, const struct top_row *row, enum top_column column, char text[24])
{
    double value = top_number(ui, row, column);
    switch (column) {
    case TOP_COL_OWN_RECENT: case TOP_COL_TOTAL_RECENT: case TOP_COL_CPU: case TOP_COL_GIL: case TOP_COL_WAIT: case TOP_COL_GIL_WAIT:
        top_percent(text, 1e-9 * value, ui->model.recent_s);
        break;
    case TOP_COL_OWN: case TOP_COL_TOTAL:
        top_seconds(text, 1e-9 * value);
        break;
    case TOP_COL_LIVE: case TOP_COL_PEAK: case TOP_COL_ALLOC: case TOP_COL_RESIDENT:
        if (column == TOP_COL_RESIDENT && value <= 0) snprintf(text, 24, "-");
        else top_bytes(text, value);
        break;
    case TOP_COL_STATE:
        snprintf(text, 24, "%s", top_state_name(ui, &ui->model.threads[row->thread]));
        break;
    default:
        snprintf(text, 24, "%.0f", value);
    }
}

// ---- the table: rows of the view, chosen and sorted ------------------------------------------------
// A filter: alternatives separated by |; each a part of the text, or a glob; ^ and $ bind it to the ends; ! first: rows that do not match.
static int top_matches_one(const char *text, const char *pattern, size_t size)
{
    char glob[300] = "";
    int begins = size > 0 && pattern[0] == '^', ends = size > (size_t)begins && pattern[size - 1] == '$', fold = 1;
    size_t used = 0, i;
    for (i = 0; i < size; i++) fold &= !(pattern[i] >= 'A' && pattern[i] <= 'Z');
    if (!begins) glob[used++] = '*';
    for (i = (size_t)begins; i < size - (size_t)ends && used < sizeof glob - 3; i++) {
        if (pattern[i] == '.' && i + 1 < size && pattern[i + 1] == '*') continue;   // of a regular expression: the same as *
        glob[used++] = pattern[i];
    }
    if (!ends) glob[used++] = '*';
    glob[used] = '\0';
    return fnmatch(glob, text, FNM_NOESCAPE | (fold ? FNM_CASEFOLD : 0)) == 0;
}

static int top_matches(const char *filter, const char *name, const char *file)
{
    int no = filter[0] == '!', found = 0;
    const char *at = filter + no;
    if (!*at) return 1;
    for (;;) {
        size_t size = strcspn(at, "|");
        if (size) found |= top_matches_one(name, at, size) || (*file && top_matches_one(file, at, size));
        if (!at[size]) return no ? !found : found;
        at += size + 1;
    }
}

static const char *top_process_name(const struct top_ui *ui, uint32_t process)
{
    return *ui->model.processes[process].name ? ui->model.processes[process].name : ui->model.program;
}

static const char *top_row_name(const struct top_ui *ui, const struct top_row *row)
{
    if (ui->view == TOP_THREADS) return ui->model.threads[row->thread].name;
    return ui->view == TOP_PROCESSES ? top_process_name(ui, row->process) : ui->model.places[row->place].name;
}

static uint64_t top_row_id(const struct top_ui *ui, const struct top_row *row)
{
    return ui->view == TOP_THREADS ? row->thread : ui->view == TOP_PROCESSES ? row->process : row->place;
}

static int top_compare(const void *left, const void *right)
{
    const struct top_row *a = left, *b = right;
    if (a->key > b->key || a->key < b->key) return a->key > b->key ? -1 : 1;
    if (a->whole[TOP_TOTAL][TOP_WALL] != b->whole[TOP_TOTAL][TOP_WALL])
        return a->whole[TOP_TOTAL][TOP_WALL] > b->whole[TOP_TOTAL][TOP_WALL] ? -1 : 1;
    if (a->place != b->place) return a->place < b->place ? -1 : 1;
    return a->thread < b->thread ? -1 : a->thread > b->thread;
}

static struct top_row *top_row_of(struct top_ui *ui, const struct top_value *value)   // of the value in this view
{
    struct top_model *model = &ui->model;
    struct top_thread *thread = &model->threads[value->thread];
    uint32_t *row = &model->places[value->place].row, *stamp = &model->places[value->place].stamp;
    if (ui->view == TOP_THREADS) row = &thread->row, stamp = &thread->stamp;
    if (ui->view == TOP_PROCESSES) row = &model->processes[thread->process].row, stamp = &model->processes[thread->process].stamp;
    if (*stamp != ui->stamp) {
        ui->rows = top_grow(ui->rows, ui->row_count, &ui->row_capacity, sizeof *ui->rows);
        memset(&ui->rows[ui->row_count], 0, sizeof *ui->rows);
        ui->rows[ui->row_count].place = value->place;
        ui->rows[ui->row_count].thread = value->thread;
        ui->rows[ui->row_count].process = thread->process;
        *stamp = ui->stamp;
        *row = (uint32_t)ui->row_count++;
    }
    return &ui->rows[*row];
}

static int top_row_wanted(const struct top_ui *ui, const struct top_row *row)
{
    int64_t memory = 0;
    for (int i = TOP_TIMES; i < TOP_METRICS; i++) memory |= row->whole[TOP_SELF][i];
    if (ui->view == TOP_MEMORY && !memory) return 0;
    if (ui->view < TOP_THREADS && !top_counted(ui, row->whole[TOP_TOTAL])) return 0;
    return top_matches(ui->filter, top_row_name(ui, row),
                       ui->view == TOP_THREADS || ui->view == TOP_PROCESSES ? "" : ui->model.places[row->place].file);
}

static void top_find_cursor(struct top_ui *ui)   // the row under the cursor stays there, unless it is the first
{
    for (size_t i = 0; ui->picked && i < ui->row_count; i++)
        if (top_row_id(ui, &ui->rows[i]) + 1 == ui->picked) {
            ui->cursor = i;
            return;
        }
    if (ui->cursor >= ui->row_count) ui->cursor = ui->row_count ? ui->row_count - 1 : 0;
}

static void top_table(struct top_ui *ui)
{
    struct top_model *model = &ui->model;
    size_t kept = 0;
    ui->stamp++;
    ui->row_count = 0;
    for (size_t i = 0; i < model->value_count; i++) {
        const struct top_value *value = &model->values[i];
        struct top_row *row;
        if (model->places[value->place].group != top_views[ui->view].group) continue;
        if (ui->focus_thread >= 0 && ui->view != TOP_THREADS && value->thread != (uint32_t)ui->focus_thread) continue;
        if (ui->focus_process >= 0 && ui->view != TOP_PROCESSES && model->threads[value->thread].process != (uint32_t)ui->focus_process) continue;
        row = top_row_of(ui, value);
        row->threads += model->threads[value->thread].interval == model->interval;
        for (int which = 0; which < 2; which++) {
            for (int metric = 0; metric < TOP_METRICS; metric++) row->whole[which][metric] += value->whole[which][metric];
            for (int metric = 0; metric < TOP_TIMES; metric++) row->recent[which][metric] += value->recent[which][metric];
        }
    }
    for (size_t i = 0; i < ui->row_count; i++) {
        if (!top_row_wanted(ui, &ui->rows[i])) continue;
        ui->rows[kept] = ui->rows[i];
        ui->rows[kept].key = (ui->ascending ? -1 : 1) * top_number(ui, &ui->rows[kept], ui->sort[ui->view]);
        kept++;
    }
    ui->row_count = kept;
    if (kept) qsort(ui->rows, kept, sizeof *ui->rows, top_compare);
    top_find_cursor(ui);
}

// ---- lines of text ---------------------------------------------------------------------------
static int top_recorded(const struct top_ui *ui)   // is it a recording, or an ended process, of which nothing is recent?
{
    return ui->model.saved;
}

static void top_spark(const struct top_ui *ui, struct top_line *line, int cells, int gil)
{
    static const char *const blocks[] = { " ", "\xe2\x96\x81", "\xe2\x96\x82", "\xe2\x96\x83", "\xe2\x96\x84", "\xe2\x96\x85",
                                          "\xe2\x96\x86", "\xe2\x96\x87", "\xe2\x96\x88" };
    static const char *const plain[] = { " ", "_", "_", ".", ".", "-", "-", "=", "#" };
    const struct top_model *model = &ui->model;
    double most = 1;
    if (cells > TOP_SLOTS) cells = TOP_SLOTS;
    for (int i = 0; i < TOP_SLOTS; i++) {
        const struct top_slot *slot = &model->slots[i];
        double value = slot->seconds > 0 ? (gil ? slot->gil : slot->cpu) / slot->seconds : 0;
        if (value > most) most = value;
    }
    for (int cell = 0; cell < cells; cell++) {
        double value = 0, seconds = 0;
        int level = 0;
        for (int back = (cells - 1 - cell) * TOP_SLOTS / cells; back < (cells - cell) * TOP_SLOTS / cells; back++) {
            const struct top_slot *slot = &model->slots[((model->slot - back) % TOP_SLOTS + TOP_SLOTS) % TOP_SLOTS];
            if (back > model->slot) continue;
            value += gil ? slot->gil : slot->cpu;
            seconds += slot->seconds;
        }
        if (seconds > 0) level = 1 + (int)(7.49 * value / seconds / most);
        top_put(line, ui->utf8 ? blocks[level > 8 ? 8 : level] : plain[level > 8 ? 8 : level], 1);
    }
}

static void top_line_program(const struct top_ui *ui, struct top_line *line)
{
    const struct top_model *model = &ui->model;
    char clock[64], right[64] = "";
    const char *program = strrchr(model->program, '/');
    top_format(line, "pyprof top  ");
    top_put(line, program && program[1] ? program + 1 : model->program, line->limit / 3);
    if (model->pid) top_format(line, "  pid %lld", (long long)model->pid);
    if (*model->python) top_format(line, "  Python %s%s", model->python, model->free_threaded ? "t" : "");
    if (top_recorded(ui)) top_clock(clock, model->whole_s);
    else top_clock(clock, ui->born ? top_uptime(ui->born) : model->whole_s);
    top_format(line, top_recorded(ui) ? "  recorded %s" : "  up %s", clock);
    if (*ui->ended) snprintf(right, sizeof right, " ENDED");
    else if (ui->paused) snprintf(right, sizeof right, " PAUSED");
    else if (!model->saved) snprintf(right, sizeof right, " every %gs", ui->delay_s);
    top_spaces(line, line->limit - line->cells - (int)strlen(right));
    if (line->limit - line->cells >= (int)strlen(right)) top_put(line, right, 64);
}

static void top_line_facts(const struct top_ui *ui, struct top_line *line)
{
    const struct top_model *model = &ui->model;
    char lost[24], bytes[24];
    int64_t resident = model->resident;
    size_t alive = 0;
    for (size_t i = 0; i < model->thread_count; i++) alive += model->threads[i].interval == model->interval;
    for (size_t i = 0; !model->saved && i < model->process_count; i++) resident += top_resident(model->processes[i].pid);
    if (model->asked) top_percent(lost, (double)model->lost, (double)model->asked);
    else snprintf(lost, sizeof lost, "0.0%%");
    top_format(line, "samples %llu at %g Hz  lost %s  threads %zu", (unsigned long long)model->samples, model->rate_hz, lost, alive);
    if (model->process_count > 1) top_format(line, " in %zu processes", model->process_count);
    if (resident > 0) {
        top_bytes(bytes, (double)resident);
        top_format(line, "  resident %s", bytes);
    }
    if (*model->degraded) top_format(line, "  %s", model->degraded);
}

static void top_line_load(const struct top_ui *ui, struct top_line *line)
{
    const struct top_model *model = &ui->model;
    char cpu[24], gil[24];
    int cells = line->limit / 2 - 14;
    top_percent(cpu, 1e-9 * model->cpu_ns, model->recent_s);
    top_percent(gil, 1e-9 * model->gil_ns, model->recent_s);
    top_format(line, "CPU %6s ", cpu);
    top_spark(ui, line, cells, 0);
    top_format(line, model->free_threaded ? "  no GIL" : "  GIL %6s ", gil);
    if (!model->free_threaded) top_spark(ui, line, cells, 1);
}

static void top_line_tabs(const struct top_ui *ui, struct top_line *line)
{
    static const char *const states[PYPROF_STATES_COUNT] = { "", "idle too", "only running", "only waiting", "only with the GIL", "only in C" };
    for (int view = 0; view < TOP_VIEWS; view++) {
        const char *name = top_views[view].name;
        if (view) top_spaces(line, 1);
        if (view == (int)ui->view) top_style(line, TOP_BOLD);
        if (line->limit >= 70 || view == (int)ui->view) top_format(line, view == (int)ui->view ? "[%d %s]" : "%d %s", view + 1, name);
        else top_format(line, "%d", view + 1);
        if (view == (int)ui->view) top_style(line, TOP_PLAIN);
    }
    if (ui->focus_process >= 0) {
        top_format(line, "  process: ");
        top_put(line, top_process_name(ui, (uint32_t)ui->focus_process), 24);
    }
    if (ui->focus_thread >= 0) {
        top_format(line, "  thread: ");
        top_put(line, ui->model.threads[ui->focus_thread].name, 24);
    }
    if (*ui->filter && !ui->editing) {
        top_format(line, "  filter: ");
        top_put(line, ui->filter, 24);
    }
    if (*states[ui->states]) top_format(line, "  (%s)", states[ui->states]);
}

// The columns that there is room for: the first ones, and the one that sorts.
static int top_fitting(const struct top_ui *ui, int width, unsigned char fitting[TOP_COLUMNS])
{
    const unsigned char *all = top_views[ui->view].columns;
    int count = 0, room = width - (width >= 60 ? 24 : width / 2), sort = (int)ui->sort[ui->view], has = 0, i;
    for (i = 0; all[i] != TOP_END; i++) {
        int left = room - top_columns[all[i]].width, later = !has && all[i] != sort;
        if (left < (later ? top_columns[sort].width : 0) && all[i] != sort) continue;
        if (left < 0 && count) continue;
        room = left;
        has |= all[i] == sort;
        fitting[count++] = all[i];
    }
    return count;
}

static void top_line_header(const struct top_ui *ui, struct top_line *line, const unsigned char *columns, int count)
{
    static const char *const names[TOP_VIEWS] = { "Function", "Line", "Thread", "Process", "Waits for", "Function" };
    for (int i = 0; i < count; i++) {
        int alone = ui->view >= TOP_THREADS && top_columns[columns[i]].alone != NULL, sorts = columns[i] == (int)ui->sort[ui->view];
        char title[32];
        snprintf(title, sizeof title, "%s%s", !sorts ? "" : ui->ascending ? "^" : line->utf8 && line->escapes ? "\xe2\x96\xbc" : "v",
                 alone ? top_columns[columns[i]].alone : top_columns[columns[i]].title);
        if (sorts) top_style(line, TOP_BOLD);
        top_right(line, title, top_columns[columns[i]].width);
        if (sorts) top_style(line, TOP_REVERSE);
    }
    top_put(line, "  ", 2);
    top_put(line, names[ui->view], 40);
}

// "name (file:line)", with the whole path where there is room for it.
static void top_put_place(const struct top_ui *ui, struct top_line *line, const struct top_place *place, int dim)
{
    const char *base = strrchr(place->file, '/');
    char text[5000], number[16] = "";
    int room = line->limit - line->cells, whole;
    if (place->line > 0) snprintf(number, sizeof number, ":%d", (int)place->line);
    whole = ui->options->full_filenames
        || top_text_width(place->name, ui->utf8) + top_text_width(place->file, ui->utf8) + (int)strlen(number) + 3 <= room;
    top_put(line, place->name, room);
    if (!*place->file) return;
    snprintf(text, sizeof text, " (%s%s)", !whole && base && base[1] ? base + 1 : place->file, number);
    if (dim) top_style(line, TOP_DIM);
    top_put(line, text, INT32_MAX);
    if (dim) top_style(line, TOP_PLAIN);
}

static void top_put_name(const struct top_ui *ui, struct top_line *line, const struct top_row *row, int dim)
{
    const struct top_thread *thread = &ui->model.threads[row->thread];
    if (ui->view != TOP_THREADS && ui->view != TOP_PROCESSES) {
        top_put_place(ui, line, &ui->model.places[row->place], dim);
        return;
    }
    top_put(line, top_row_name(ui, row), ui->view == TOP_THREADS && thread->at ? (line->limit - line->cells) * 2 / 3 : INT32_MAX);
    if (ui->view != TOP_THREADS || thread->interval != ui->model.interval || !thread->at) return;
    top_spaces(line, 2);
    if (thread->leaf) {
        top_put(line, ui->model.places[thread->leaf].name, INT32_MAX);
        top_spaces(line, 1);
    }
    top_put_place(ui, line, &ui->model.places[thread->at], dim);
}

static void top_line_row(const struct top_ui *ui, struct top_line *line, const struct top_row *row, const unsigned char *columns, int count,
                         int picked)
{
    if (picked) top_style(line, TOP_REVERSE);
    for (int i = 0; i < count; i++) {
        char text[24];
        double share = columns[i] <= TOP_COL_TOTAL_RECENT && ui->model.recent_s > 0 ? 1e-9 * top_number(ui, row, columns[i]) / ui->model.recent_s : 0;
        top_cell(ui, row, columns[i], text);
        if (!picked && share >= 0.1) top_style(line, share >= 0.5 ? TOP_HOT : TOP_WARM);
        top_right(line, text, top_columns[columns[i]].width);
        if (!picked && share >= 0.1) top_style(line, TOP_PLAIN);
    }
    top_put(line, "  ", 2);
    top_put_name(ui, line, row, !picked);
    if (picked) {
        top_spaces(line, line->limit);
        top_style(line, TOP_PLAIN);
    }
}

static void top_line_foot(const struct top_ui *ui, struct top_line *line)
{
    if (ui->editing) {
        top_format(line, "filter: ");
        top_put(line, ui->filter, INT32_MAX);
        top_style(line, TOP_REVERSE);
        top_put(line, " ", 1);
        top_style(line, TOP_PLAIN);
        top_style(line, TOP_DIM);
        top_format(line, "  part|glob*|^begin|end$  ! not  Enter keeps, Esc clears");
        top_style(line, TOP_PLAIN);
    } else if (*ui->message) {
        top_put(line, ui->message, INT32_MAX);
    } else if (*ui->ended) {
        top_style(line, TOP_BOLD);
        top_put(line, ui->ended, INT32_MAX);
        top_style(line, TOP_PLAIN);
    } else if (ui->paused) {
        top_format(line, "paused: space goes on  ? help  q quit");
    } else {
        top_format(line, line->limit < 60 ? "? help  q quit" : "? help  q quit  tab view  < > sort  / filter  space pause  Enter thread");
    }
}

// ---- the terminal ---------------------------------------------------------------------------------
// Signals that end the program are answered by the handler itself, wherever the main thread is.
static struct {
    struct termios before;
    volatile sig_atomic_t active, stop, cont, resized, interrupted;
    volatile sig_atomic_t child;   // the command, or less than 0: its group
    int pipe[2];
} top_tty = { .pipe = { -1, -1 } };
static const char top_enter_text[] = "\33[?1049h\33[?25l\33[?7l\33[H\33[2J", top_leave_text[] = "\33[0m\33[?7h\33[?25h\33[?1049l";

static int top_write_all(const char *data, size_t size)
{
    while (size) {
        ssize_t written = write(STDOUT_FILENO, data, size);
        if (written < 0 && errno == EAGAIN) {
            struct pollfd wait = { STDOUT_FILENO, POLLOUT, 0 };
            poll(&wait, 1, 1000);
        } else if (written < 0 && errno != EINTR) return 0;
        if (written < 0 && (top_tty.interrupted || top_tty.stop)) return 1;
        if (written > 0) data += written, size -= (size_t)written;
    }
    return 1;
}

static void top_leave(void)   // async-signal-safe
{
    ssize_t written;
    if (!top_tty.active) return;
    top_tty.active = 0;
    written = write(STDOUT_FILENO, top_leave_text, sizeof top_leave_text - 1);
    (void)written;
    tcsetattr(STDIN_FILENO, TCSANOW, &top_tty.before);
}

static void top_enter(void)
{
    struct termios raw;
    if (top_tty.active || tcgetattr(STDIN_FILENO, &top_tty.before)) return;
    raw = top_tty.before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ECHONL | IEXTEN);   // signals of keys stay
    raw.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    while (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))   // in the background it stops here, until fg
        if (errno != EINTR) return;
    top_tty.active = 1;
    top_write_all(top_enter_text, sizeof top_enter_text - 1);
}

static void top_on_signal(int signal_number)
{
    int saved = errno;
    ssize_t written;
    if (signal_number == SIGTSTP) top_tty.stop = 1;
    else if (signal_number == SIGCONT) top_tty.cont = 1;
    else if (signal_number == SIGWINCH) top_tty.resized = 1;
    else if (signal_number == SIGINT && !top_tty.interrupted) top_tty.interrupted = 1;
    else if (signal_number != SIGCHLD) {
        top_leave();
        if (top_tty.child) kill(top_tty.child, SIGTERM);
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
    written = write(top_tty.pipe[1], "", 1);
    (void)written;
    errno = saved;
}

static void top_on_crash(int signal_number)
{
    top_leave();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void top_signals(int screen)
{
    static const int ends[] = { SIGTERM, SIGHUP, SIGQUIT, SIGINT, SIGCHLD }, shows[] = { SIGTSTP, SIGCONT, SIGWINCH };
    static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
    static char stack[65536];
    stack_t own = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction action;
    memset(&action, 0, sizeof action);
    if (pipe(top_tty.pipe)) exit(cli_fail("pipe: %s", strerror(errno)));
    for (int i = 0; i < 2; i++) {
        fcntl(top_tty.pipe[i], F_SETFD, FD_CLOEXEC);
        fcntl(top_tty.pipe[i], F_SETFL, O_NONBLOCK);
    }
    action.sa_handler = top_on_signal;
    for (size_t i = 0; i < CLI_COUNT(ends); i++) {
        struct sigaction before;
        sigaction(ends[i], NULL, &before);
        if (ends[i] == SIGINT || before.sa_handler != SIG_IGN) sigaction(ends[i], &action, NULL);   // nohup ignores SIGHUP
    }
    for (size_t i = 0; screen && i < CLI_COUNT(shows); i++) sigaction(shows[i], &action, NULL);
    if (!screen) return;
    sigaltstack(&own, NULL);
    action.sa_handler = top_on_crash;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    for (size_t i = 0; i < CLI_COUNT(crashes); i++) sigaction(crashes[i], &action, NULL);
    atexit(top_leave);
}

static void top_size(struct top_ui *ui)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS"), *lines = getenv("LINES");
    memset(&size, 0, sizeof size);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size)) memset(&size, 0, sizeof size);
    ui->width = size.ws_col ? size.ws_col : columns ? atoi(columns) : 80;
    ui->height = size.ws_row ? size.ws_row : lines ? atoi(lines) : 24;
    if (ui->width < 1 || ui->width > 1000) ui->width = 80;
    if (ui->height < 1 || ui->height > 1000) ui->height = 24;
}

static void top_redraw_all(struct top_ui *ui)   // nothing that is on the screen is known
{
    for (size_t i = 0; i < ui->shown_count; i++) free(ui->shown[i].data);
    ui->shown_count = 0;
}

// ---- the screen --------------------------------------------------------------------------------------
static const char *const top_help[] = {
    "1..6 f l t p w m   functions, lines, threads, processes, waits, memory",
    "tab                next view",
    "S T C G W M        sort: self, total, CPU, GIL, waiting, memory; again: whole time",
    "< >  R             sort by the column before or after; reverse",
    "Enter              on a thread or process: only that one; Esc: back",
    "/                  filter: part, glob*, ^begin, end$, a|b, !not",
    "i                  count waiting for work, too",
    "space              pause          r   begin anew",
    "+ -                refresh more or less often",
    "[ ]                the recent part: shorter, longer",
    "arrows PgUp PgDn Home End   move",
    "?                  this help      q, Ctrl-C   quit",
    "",
    "%Own %Total: of the recent part; 100 % is one thread all the time.",
    "OwnTime TotalTime: since the start. %CPU, %GIL, %Wait: recent, own.",
};

static struct top_line *top_new_line(struct top_ui *ui, struct top_line **lines, int *count)
{
    struct top_line *line;
    if (*count >= ui->height) return NULL;
    line = &(*lines)[(*count)++];
    memset(line, 0, sizeof *line);
    line->limit = ui->width;
    line->utf8 = ui->utf8;
    line->colour = ui->colour;
    line->escapes = 1;
    return line;
}

static void top_text_line(struct top_ui *ui, struct top_line **lines, int *count, const char *text)
{
    struct top_line *line = top_new_line(ui, lines, count);
    if (line) top_put(line, text, INT32_MAX);
}

static void top_no_memory(struct top_ui *ui, struct top_line **lines, int *count)   // what there is to tell without a table
{
    char path[64], text[160], key[64];
    FILE *file;
    top_text_line(ui, lines, count, "");
    top_text_line(ui, lines, count, ui->model.saved ? "This recording has no memory by place." : "Memory by place cannot be seen from outside.");
    top_text_line(ui, lines, count, "To record it: pyprof record --heap -o app.json -- COMMAND");
    top_text_line(ui, lines, count, "");
    snprintf(path, sizeof path, "/proc/%lld/status", (long long)ui->model.pid);
    file = ui->model.saved ? NULL : fopen(path, "r");
    while (file && fgets(text, sizeof text, file)) {
        if (sscanf(text, "%63[^:]:", key) != 1) continue;
        if (!strstr(" VmSize VmHWM VmRSS RssAnon RssFile VmSwap ", key)) continue;
        for (char *at = text; *at; at++) *at = *at == '\t' || *at == '\n' ? ' ' : *at;
        top_text_line(ui, lines, count, text);
    }
    if (file) fclose(file);
}

static void top_lines_header(struct top_ui *ui, struct top_line **lines, int *count)
{
    struct top_line *line = top_new_line(ui, lines, count);
    top_style(line, TOP_REVERSE_BOLD);
    top_line_program(ui, line);
    top_style(line, TOP_PLAIN);
    if (ui->height >= 9 && (line = top_new_line(ui, lines, count)) != NULL) top_line_facts(ui, line);
    if (ui->height >= 10 && (line = top_new_line(ui, lines, count)) != NULL) top_line_load(ui, line);
    if (ui->height >= 7 && (line = top_new_line(ui, lines, count)) != NULL) top_line_tabs(ui, line);
}

static void top_lines_table(struct top_ui *ui, struct top_line **lines, int *count)
{
    unsigned char columns[TOP_COLUMNS];
    int fitting = top_fitting(ui, ui->width, columns);
    struct top_line *line = top_new_line(ui, lines, count);
    if (line) {
        top_style(line, TOP_REVERSE);
        top_line_header(ui, line, columns, fitting);
        top_spaces(line, line->limit);
        top_style(line, TOP_PLAIN);
    }
    ui->page = ui->height - 1 > *count ? (size_t)(ui->height - 1 - *count) : 1;
    if (ui->cursor < ui->scroll) ui->scroll = ui->cursor;
    if (ui->cursor >= ui->scroll + ui->page) ui->scroll = ui->cursor - ui->page + 1;
    if (ui->scroll + ui->page > ui->row_count) ui->scroll = ui->row_count > ui->page ? ui->row_count - ui->page : 0;
    if (ui->view == TOP_MEMORY && !ui->row_count && !ui->model.heap) top_no_memory(ui, lines, count);
    for (size_t i = 0; i < ui->page && ui->scroll + i < ui->row_count && *count < ui->height - 1; i++)
        top_line_row(ui, top_new_line(ui, lines, count), &ui->rows[ui->scroll + i], columns, fitting, ui->scroll + i == ui->cursor);
}

// Writes what differs from the screen, in one piece.
static void top_show(struct top_ui *ui, struct top_line *lines, int count)
{
    struct top_line out;
    char move[32];
    memset(&out, 0, sizeof out);
    if (!ui->shown_count) top_raw(&out, "\33[0m\33[2J", 8);
    for (int i = 0; i < count; i++) {
        const struct top_line *old = (size_t)i < ui->shown_count ? &ui->shown[i] : NULL;
        if (old ? old->size == lines[i].size && !memcmp(old->data, lines[i].data, old->size) : !lines[i].size) continue;
        top_raw(&out, move, (size_t)snprintf(move, sizeof move, "\33[%d;1H", i + 1));
        if (lines[i].size) top_raw(&out, lines[i].data, lines[i].size);
        if (lines[i].cells < ui->width) top_raw(&out, "\33[K", 3);
    }
    if (out.size && !top_write_all(out.data, out.size)) ui->quit = 1;   // the terminal has gone
    free(out.data);
    top_redraw_all(ui);
    free(ui->shown);
    ui->shown = lines;
    ui->shown_count = (size_t)count;
}

static void top_draw(struct top_ui *ui)
{
    struct top_line *lines = calloc((size_t)ui->height, sizeof *lines);
    int count = 0;
    if (!lines) exit(cli_fail("no memory"));
    top_lines_header(ui, &lines, &count);
    if (ui->help) {
        for (size_t i = 0; i < CLI_COUNT(top_help) && count < ui->height - 1; i++) top_text_line(ui, &lines, &count, top_help[i]);
    } else {
        top_table(ui);
        top_lines_table(ui, &lines, &count);
    }
    while (count < ui->height - 1) top_new_line(ui, &lines, &count);
    if (count < ui->height) top_line_foot(ui, top_new_line(ui, &lines, &count));
    for (int i = 0; i < count; i++) top_raw(&lines[i], "", 0);
    top_show(ui, lines, count);
}

// ---- keys ------------------------------------------------------------------------------------------
enum {
    TOP_KEY_UP = 256, TOP_KEY_DOWN, TOP_KEY_PAGE_UP, TOP_KEY_PAGE_DOWN, TOP_KEY_HOME, TOP_KEY_END, TOP_KEY_LEFT, TOP_KEY_RIGHT, TOP_KEY_OTHER
};

static int top_byte(int timeout_ms)   // -1 = none
{
    unsigned char byte;
    struct pollfd wait = { STDIN_FILENO, POLLIN, 0 };
    if (poll(&wait, 1, timeout_ms) <= 0) return -1;
    return read(STDIN_FILENO, &byte, 1) == 1 ? byte : -1;
}

// The rest of a key that begins with Esc; alone it is the key Esc.
static int top_escape_key(void)
{
    int byte = top_byte(25), number = 0;
    if (byte < 0) return 27;
    if (byte != '[' && byte != 'O') return TOP_KEY_OTHER;
    for (byte = top_byte(25); byte >= 0; byte = top_byte(25)) {
        if (byte >= '0' && byte <= '9') number = number * 10 % 1000 + byte - '0';
        else if (byte >= 0x40 && byte != '[') break;
    }
    switch (byte) {
    case 'A': return TOP_KEY_UP;
    case 'B': return TOP_KEY_DOWN;
    case 'C': return TOP_KEY_RIGHT;
    case 'D': return TOP_KEY_LEFT;
    case 'H': return TOP_KEY_HOME;
    case 'F': return TOP_KEY_END;
    case '~': return number == 5 ? TOP_KEY_PAGE_UP : number == 6 ? TOP_KEY_PAGE_DOWN : number == 1 || number == 7 ? TOP_KEY_HOME
                  : number == 4 || number == 8 ? TOP_KEY_END : TOP_KEY_OTHER;
    default: return TOP_KEY_OTHER;
    }
}

static void top_set_view(struct top_ui *ui, enum top_view view)
{
    ui->view = view;
    ui->cursor = ui->scroll = 0;
    ui->picked = 0;
}

static int top_has_column(const struct top_ui *ui, enum top_column column)
{
    const unsigned char *at = top_views[ui->view].columns;
    while (*at != TOP_END && *at != column) at++;
    return *at != TOP_END;
}

static void top_sort_by(struct top_ui *ui, int order)
{
    enum top_column now = ui->sort[ui->view];
    int found = 0, first = -1, next = -1;
    if (top_orders[order].key == 'M' && ui->view != TOP_MEMORY) {
        top_set_view(ui, TOP_MEMORY);
        return;
    }
    if (ui->view == TOP_MEMORY && top_orders[order].key != 'M') top_set_view(ui, TOP_FUNCTIONS), now = TOP_END;
    for (int i = 0; i < 3; i++) {
        enum top_column column = top_orders[order].columns[i];
        if (column == TOP_END || !top_has_column(ui, column)) continue;
        if (first < 0) first = (int)column;
        if (found && next < 0) next = (int)column;
        found |= column == now;
    }
    if (first < 0) snprintf(ui->message, sizeof ui->message, "this view is not sorted by %s", top_orders[order].what);
    else ui->sort[ui->view] = (enum top_column)(next >= 0 ? next : first);
}

static void top_sort_beside(struct top_ui *ui, int step)
{
    const unsigned char *columns = top_views[ui->view].columns;
    int count = 0, at = 0;
    for (; columns[count] != TOP_END; count++)
        if (columns[count] == ui->sort[ui->view]) at = count;
    ui->sort[ui->view] = columns[(at + step + count) % count];
}

static void top_move(struct top_ui *ui, long step)
{
    long to = (long)ui->cursor + step, last = (long)ui->row_count - 1;
    ui->cursor = to < 0 || last < 0 ? 0 : to > last ? (size_t)last : (size_t)to;
    ui->picked = ui->cursor && ui->cursor < ui->row_count ? top_row_id(ui, &ui->rows[ui->cursor]) + 1 : 0;
}

static void top_change_delay(struct top_ui *ui, int step)
{
    static const double delays[] = { 0.1, 0.2, 0.5, 1, 2, 5, 10 };
    int at = 0, last = (int)CLI_COUNT(delays) - 1;
    while (at < last && delays[at] < ui->delay_s - 1e-9) at++;
    at += step;
    ui->delay_s = delays[at < 0 ? 0 : at > last ? last : at];
    ui->next = cli_now() + ui->delay_s;
}

static void top_focus(struct top_ui *ui)   // on the thread or process under the cursor
{
    const struct top_row *row = ui->cursor < ui->row_count ? &ui->rows[ui->cursor] : NULL;
    if (!row) return;
    if (ui->view == TOP_THREADS) {
        ui->focus_thread = (int)row->thread;
        top_set_view(ui, TOP_FUNCTIONS);
    } else if (ui->view == TOP_PROCESSES) {
        ui->focus_process = (int)row->process;
        top_set_view(ui, TOP_THREADS);
    } else snprintf(ui->message, sizeof ui->message, "Enter chooses a thread or a process: t or p shows them");
}

static void top_back(struct top_ui *ui)   // Esc: the last choice is undone
{
    if (ui->help) ui->help = 0;
    else if (*ui->filter) *ui->filter = '\0';
    else if (ui->focus_thread >= 0) {
        ui->focus_thread = -1;
        top_set_view(ui, TOP_THREADS);
    } else if (ui->focus_process >= 0) {
        ui->focus_process = -1;
        top_set_view(ui, TOP_PROCESSES);
    }
}

static void top_edit(struct top_ui *ui, int key)
{
    size_t size = strlen(ui->filter);
    if (key == '\r' || key == '\n') ui->editing = 0;
    else if (key == 27) ui->editing = 0, *ui->filter = '\0';
    else if (key == 21) *ui->filter = '\0';
    else if (key == 127 || key == 8) {
        while (size && (ui->filter[size - 1] & 0xc0) == 0x80) size--;   // the whole character
        ui->filter[size ? size - 1 : 0] = '\0';
    } else if (key >= 32 && key < 256 && size + 2 < sizeof ui->filter) {
        ui->filter[size] = (char)key;
        ui->filter[size + 1] = '\0';
    }
}

static void top_key_move(struct top_ui *ui, int key)
{
    long page = (long)ui->page;
    switch (key) {
    case TOP_KEY_UP: case 'k': top_move(ui, -1); break;
    case TOP_KEY_DOWN: case 'j': top_move(ui, 1); break;
    case TOP_KEY_PAGE_UP: case 2: top_move(ui, -page); break;
    case TOP_KEY_PAGE_DOWN: case 6: top_move(ui, page); break;
    case TOP_KEY_HOME: case 'g': top_move(ui, INT32_MIN); break;
    case TOP_KEY_END: top_move(ui, INT32_MAX); break;
    default: break;
    }
}

static void top_reset(struct top_ui *ui)
{
    if (ui->model.saved) {
        snprintf(ui->message, sizeof ui->message, "a saved recording does not begin anew");
        return;
    }
    if (ui->session) pyprof_reset(ui->session);
    top_model_reset(&ui->model);
    snprintf(ui->message, sizeof ui->message, "began anew");
}

static void top_key_other(struct top_ui *ui, int key)
{
    switch (key) {
    case 'q': case 'Q': ui->quit = 1; break;
    case '?': case 'h': ui->help = !ui->help; break;
    case ' ':
        if (ui->model.saved || *ui->ended) snprintf(ui->message, sizeof ui->message, "nothing changes any more");
        else ui->paused = !ui->paused, ui->next = 0;
        break;
    case '/': ui->editing = 1; ui->help = 0; break;
    case '\t': top_set_view(ui, (ui->view + 1) % TOP_VIEWS); break;
    case TOP_KEY_RIGHT: top_set_view(ui, (ui->view + 1) % TOP_VIEWS); break;
    case TOP_KEY_LEFT: top_set_view(ui, (ui->view + TOP_VIEWS - 1) % TOP_VIEWS); break;
    case '<': case ',': top_sort_beside(ui, -1); break;
    case '>': case '.': top_sort_beside(ui, 1); break;
    case 'R': case 'I': ui->ascending = !ui->ascending; break;
    case 'i': ui->states = ui->states == PYPROF_STATES_ALL ? PYPROF_STATES_DEFAULT : PYPROF_STATES_ALL; break;
    case '+': case '=': top_change_delay(ui, -1); break;
    case '-': case '_': top_change_delay(ui, 1); break;
    case '[': ui->model.window_s = ui->model.window_s > 1 ? ui->model.window_s - 1 : 1; break;
    case ']': ui->model.window_s = ui->model.window_s < 5 ? ui->model.window_s + 1 : 5; break;
    case 'r': top_reset(ui); break;
    case '\r': case '\n': top_focus(ui); break;
    case 27: top_back(ui); break;
    case 12: top_redraw_all(ui); break;
    default: top_key_move(ui, key);
    }
    if (key == '[' || key == ']') snprintf(ui->message, sizeof ui->message, "recent: the last %.0f s", ui->model.window_s);
}

static void top_key(struct top_ui *ui, int key)
{
    *ui->message = '\0';
    if (ui->editing) {
        top_edit(ui, key);
        return;
    }
    for (int view = 0; view < TOP_VIEWS; view++)
        if (key == '1' + view || key == top_views[view].key) {
            ui->help = 0;
            top_set_view(ui, (enum top_view)view);
            return;
        }
    for (size_t order = 0; order < CLI_COUNT(top_orders); order++)
        if (key == top_orders[order].key) {
            top_sort_by(ui, (int)order);
            return;
        }
    top_key_other(ui, key);
}

// ---- where the samples come from ---------------------------------------------------------------------
static void top_refresh(struct top_ui *ui)
{
    pyprof_snapshot_options options = { .reset = 1 };
    pyprof_profile *profile = NULL;
    if (!ui->session) return;
    if (pyprof_snapshot(ui->session, &options, &profile) != PYPROF_OK || !top_model_add(&ui->model, profile, &ui->query))
        snprintf(ui->message, sizeof ui->message, "%s", pyprof_last_error());
    pyprof_profile_free(profile);
}

static int top_status_of(int status)   // as of a shell
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// The command ended, or the process is not there any more, or its pid is another process now.
static void top_check_end(struct top_ui *ui)
{
    unsigned long long start;
    int status;
    if (!ui->session || *ui->ended) return;
    if (ui->child > 0) {
        if (waitpid(ui->child, &status, WNOHANG) != ui->child) return;
        ui->child_status = top_status_of(status);
        ui->child = top_tty.child = 0;
        snprintf(ui->ended, sizeof ui->ended,
                 WIFSIGNALED(status) ? "pid %lld was ended by signal %d. q quits" : "pid %lld ended with status %d. q quits",
                 (long long)ui->model.pid, WIFSIGNALED(status) ? WTERMSIG(status) : ui->child_status);
    } else {
        int alive = top_alive(ui->model.pid, &start);
        if (!ui->model.ended && alive && (!ui->born || start == ui->born)) return;
        snprintf(ui->ended, sizeof ui->ended, "pid %lld ended. q quits", (long long)ui->model.pid);
    }
    top_refresh(ui);
    ui->paused = 0;
    *ui->message = '\0';
}

static void top_drain(void)
{
    char bytes[64];
    while (read(top_tty.pipe[0], bytes, sizeof bytes) > 0) { }
}

static int top_wait(double until, int keys)   // 1 = a key can be read
{
    struct pollfd wait[2] = { { top_tty.pipe[0], POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
    double left = 1e3 * (until - cli_now());
    int ready = poll(wait, keys ? 2 : 1, left <= 0 ? 0 : left > 1e6 ? 1000000 : (int)left + 1);
    top_drain();
    return ready > 0 && keys && wait[1].revents;
}

static void top_prepare_query(struct top_ui *ui)
{
    ui->query = ui->options->query;
    ui->query.sort = ui->query.by_total = ui->query.group = ui->query.include_idle = 0;
    ui->query.states = PYPROF_STATES_ALL;   // the time that counts is chosen when rows are shown
}

static int top_open_saved(struct top_ui *ui, const char *path)   // returns the exit status
{
    pyprof_profile *profile;
    int loaded = pyprof_load(path, &profile) == PYPROF_OK;
    top_model_init(&ui->model, 0, 1);
    if (!loaded || !top_model_add(&ui->model, profile, &ui->query)) {
        cli_fail("%s", pyprof_last_error());
        if (loaded) pyprof_profile_free(profile);
        return CLI_FAILED;
    }
    pyprof_profile_free(profile);
    return 0;
}

// Starts the command. Beside the screen its output goes to a file, which is shown at the end.
static int top_spawn(struct top_ui *ui, int screen)   // returns the exit status
{
    char **program = ui->options->program;
    int report[2], error = 0;
    FILE *out = screen ? tmpfile() : NULL;
    if (pipe(report)) return cli_fail("pipe: %s", strerror(errno));
    ui->child_out = out ? dup(fileno(out)) : -1;
    if (out) fclose(out);
    fcntl(report[1], F_SETFD, FD_CLOEXEC);
    if (ui->child_out >= 0) fcntl(ui->child_out, F_SETFD, FD_CLOEXEC);
    ui->child = fork();
    if (!ui->child) {
        int null = screen ? open("/dev/null", O_RDONLY) : -1;
        close(report[0]);
        if (null >= 0) dup2(null, STDIN_FILENO);
        if (null > 2) close(null);
        if (ui->child_out >= 0) dup2(ui->child_out, STDOUT_FILENO);
        if (ui->child_out >= 0 && isatty(STDERR_FILENO)) dup2(ui->child_out, STDERR_FILENO);
        if (screen) setpgid(0, 0);   // Ctrl-C and Ctrl-Z are for the table
        execvp(program[0], program);
        error = errno;
        if (write(report[1], &error, sizeof error) < 0) _exit(126);
        _exit(127);
    }
    close(report[1]);
    if (ui->child > 0 && read(report[0], &error, sizeof error) == (ssize_t)sizeof error) {
        waitpid(ui->child, NULL, 0);
        close(report[0]);
        cli_fail("%s: %s", program[0], strerror(error));
        return error == ENOENT ? 127 : 126;
    }
    close(report[0]);
    if (ui->child < 0) return cli_fail("fork: %s", strerror(errno));
    top_tty.child = screen ? -ui->child : ui->child;
    return 0;
}

// Has the command ended before it ran Python? Its exit status; -1 = it has not.
static int top_ended_early(struct top_ui *ui)
{
    int status;
    if (ui->child <= 0 || waitpid(ui->child, &status, WNOHANG) != ui->child) return -1;
    ui->child = top_tty.child = 0;
    cli_fail("%s ended before it ran Python", ui->options->program[0]);
    return top_status_of(status) ? top_status_of(status) : CLI_FAILED;
}

static int top_open_live(struct top_ui *ui, int screen)   // returns the exit status
{
    double begin, last;
    pyprof_config config = cli_config(ui->options, ui->options->pid);
    pyprof_result result;
    int status = 0;
    if (ui->options->program && (status = top_spawn(ui, screen)) != 0) return status;
    if (ui->child) config.pid = ui->child;
    config.timeline_s = 1;   // for the last state of each thread
    top_model_init(&ui->model, config.pid, 0);
    begin = cli_now();
    for (;;) {   // a command is not Python at once
        last = cli_now();
        result = cli_session(&config, &ui->session);
        if (result == PYPROF_OK || top_tty.interrupted) break;
        if ((status = top_ended_early(ui)) >= 0) return status;
        if (ui->child <= 0 || !cli_too_early(result, cli_now() - begin)) break;
        top_wait(cli_next_try(begin, last), 0);
    }
    if (result != PYPROF_OK) {
        if (top_tty.interrupted) return 130;
        return cli_fail("%s", pyprof_last_error());
    }
    top_alive(config.pid, &ui->born);
    return 0;
}

// Waits for the command. It is ended with SIGTERM after `first` seconds, and with SIGKILL 3 seconds later.
static void top_end_command(struct top_ui *ui, double first)
{
    double begin = cli_now();
    int status, asked = 0;
    pid_t got;
    while ((got = waitpid(ui->child, &status, WNOHANG)) == 0) {
        if (top_tty.interrupted && first > 1e9) first = cli_now() - begin + 3;   // Ctrl-C ends it, too
        if (!asked && cli_now() > begin + first) asked = 1, kill(top_tty.child, SIGTERM);
        if (asked && cli_now() > begin + first + 3) kill(top_tty.child, SIGKILL);
        top_wait(cli_now() + 0.1, 0);   // SIGCHLD ends it early
    }
    if (got == ui->child && !asked) ui->child_status = top_status_of(status);
    ui->child = top_tty.child = 0;
}

// Ends the session. A command without a terminal ends with the table; otherwise it goes on, and its status is that of pyprof.
static int top_close(struct top_ui *ui, int end)   // returns the exit status
{
    char data[4096];
    ssize_t size;
    off_t at = 0;
    if (ui->session) pyprof_stop(ui->session, NULL);
    if (ui->child > 0) top_end_command(ui, end ? 0 : 1e300);
    while (ui->child_out >= 0 && (size = pread(ui->child_out, data, sizeof data, at)) > 0 && top_write_all(data, (size_t)size)) at += size;
    top_redraw_all(ui);
    free(ui->shown);
    free(ui->rows);
    top_model_free(&ui->model);
    return ui->child_status;
}

// ---- without a screen: a table after each interval -----------------------------------------------------
static void top_print_line(struct top_line *line)
{
    while (line->size && line->data[line->size - 1] == ' ') line->size--;
    top_raw(line, "\n", 1);
    fwrite(line->data, 1, line->size, stdout);
    line->size = 0;
    line->cells = 0;
}

static void top_print(struct top_ui *ui)
{
    struct top_line line;
    unsigned char columns[TOP_COLUMNS];
    int width = isatty(STDOUT_FILENO) ? ui->width : 1000, count = top_fitting(ui, width < 200 ? width : 110, columns);
    size_t rows = ui->options->rows > 0 ? (size_t)ui->options->rows : 20;
    memset(&line, 0, sizeof line);
    line.limit = width;
    line.utf8 = ui->utf8;
    top_table(ui);
    if (!ui->options->quiet) {
        char cpu[24], gil[24];
        line.limit = 1000;
        top_format(&line, "pyprof top  %s", ui->model.program);
        if (ui->model.pid) top_format(&line, "  pid %lld", (long long)ui->model.pid);
        top_format(&line, "  Python %s  ", ui->model.python);
        top_line_facts(ui, &line);
        top_percent(cpu, 1e-9 * ui->model.cpu_ns, ui->model.recent_s);
        top_percent(gil, 1e-9 * ui->model.gil_ns, ui->model.recent_s);
        top_format(&line, "  CPU %s  GIL %s", cpu, gil);
        top_print_line(&line);
        line.limit = width;
    }
    top_line_header(ui, &line, columns, count);
    top_print_line(&line);
    for (size_t i = 0; i < ui->row_count && i < rows; i++) {
        top_line_row(ui, &line, &ui->rows[i], columns, count, 0);
        top_print_line(&line);
    }
    if (*ui->ended) printf("%.*s\n", (int)(strstr(ui->ended, ". q") ? strstr(ui->ended, ". q") - ui->ended : 160), ui->ended);
    if (!ui->model.saved && !*ui->ended) printf("\n");
    free(line.data);
}

static int top_hung_up(void)
{
    struct pollfd wait = { STDIN_FILENO, POLLIN, 0 };
    return poll(&wait, 1, 0) > 0 && wait.revents & (POLLHUP | POLLERR | POLLNVAL);
}

static void top_run_plain(struct top_ui *ui)
{
    double end = ui->options->duration_s > 0 ? cli_now() + ui->options->duration_s : 1e300;
    if (ui->model.saved) {
        top_print(ui);
        return;
    }
    ui->next = cli_now() + ui->delay_s;
    for (int last = 0, printed = 1; !last && !ferror(stdout); printed++) {
        while (cli_now() < ui->next && cli_now() < end && !top_tty.interrupted && !*ui->ended) {
            top_wait(ui->next < end ? ui->next < cli_now() + 0.25 ? ui->next : cli_now() + 0.25 : end, 0);
            top_check_end(ui);
        }
        last = *ui->ended || top_tty.interrupted || cli_now() >= end - 1e-3 || printed == ui->options->count;
        if (!*ui->ended) top_refresh(ui);
        ui->next += ui->delay_s;
        if (ui->next < cli_now()) ui->next = cli_now() + ui->delay_s;
        top_print(ui);
        fflush(stdout);
    }
}

// ---- with a screen ---------------------------------------------------------------------------------------
static void top_suspend(void)
{
    struct sigaction before;
    struct sigaction stop;
    top_leave();
    memset(&stop, 0, sizeof stop);
    stop.sa_handler = SIG_DFL;
    sigaction(SIGTSTP, &stop, &before);
    top_tty.stop = 0;
    raise(SIGTSTP);   // goes on here
    sigaction(SIGTSTP, &before, NULL);
    top_tty.cont = 1;
}

// What signals asked for since the last time.
static void top_answer_signals(struct top_ui *ui)
{
    if (top_tty.stop) top_suspend();
    if (top_tty.cont) {
        top_tty.cont = 0;
        if (top_tty.active) tcsetattr(STDIN_FILENO, TCSANOW, &top_tty.before);   // a shell may have changed it meanwhile
        top_tty.active = 0;
        top_enter();
        top_tty.resized = 1;
    }
    if (top_tty.resized) {
        top_tty.resized = 0;
        top_redraw_all(ui);
        top_size(ui);
    }
    if (top_tty.interrupted) ui->quit = 1;
}

static void top_run_screen(struct top_ui *ui)
{
    top_enter();
    if (!top_tty.active) {
        cli_fail("the terminal: %s", strerror(errno));
        return;
    }
    ui->next = cli_now() + (ui->delay_s < 0.25 ? ui->delay_s : 0.25);   // the first table comes soon
    top_draw(ui);
    while (!ui->quit) {
        double now, check;
        int ready, key = 0;
        now = cli_now();
        check = now + 0.25 < ui->next && ui->session && !*ui->ended ? now + 0.25 : ui->next;
        if (ui->model.saved || ui->paused || *ui->ended) check = *ui->ended || ui->model.saved ? 1e300 : now + 0.25;
        ready = top_wait(check, 1);
        top_answer_signals(ui);
        while (ready && !ui->quit && !top_tty.resized && !top_tty.stop) {
            key = top_byte(0);
            if (key < 0) break;
            if (key == 27) key = top_escape_key();
            top_key(ui, key);
        }
        if (ready && key < 0 && top_hung_up()) ui->quit = 1;
        top_check_end(ui);
        if (!ui->paused && !*ui->ended && ui->session && cli_now() >= ui->next) {
            top_refresh(ui);
            ui->next = cli_now() + ui->delay_s;
        }
        if (!ui->quit) top_draw(ui);
    }
    top_leave();
}

// ---- the command -----------------------------------------------------------------------------------------
static int top_is_utf8(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (size_t i = 0; i < CLI_COUNT(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strstr(value, "UTF-8") || strstr(value, "utf8") || strstr(value, "UTF8") || strstr(value, "utf-8");
    }
    return 0;
}

static int top_choose(struct top_ui *ui)   // view, order and states that options ask for; returns the exit status
{
    static const struct { int metric; enum top_column column; } sorts[] = {
        { PYPROF_CPU_NS, TOP_COL_CPU }, { PYPROF_GIL_NS, TOP_COL_GIL }, { PYPROF_WAIT_NS, TOP_COL_WAIT }, { PYPROF_GIL_WAIT_NS, TOP_COL_GIL_WAIT },
        { PYPROF_WALL_NS, TOP_COL_OWN_RECENT }, { PYPROF_LIVE_BYTES, TOP_COL_LIVE }, { PYPROF_LIVE_BLOCKS, TOP_COL_BLOCKS },
        { PYPROF_PEAK_BYTES, TOP_COL_PEAK }, { PYPROF_ALLOC_BYTES, TOP_COL_ALLOC }, { PYPROF_TEMP_BLOCKS, TOP_COL_TEMP }
    };
    const pyprof_query *query = &ui->options->query;
    for (int view = 0; view < TOP_VIEWS; view++) ui->sort[view] = (enum top_column)top_views[view].columns[0];
    if (query->group == PYPROF_GROUP_FILE) return cli_fail("top has no table of files: function, line, thread, leaf");
    ui->view = query->group == PYPROF_GROUP_LINE ? TOP_LINES : query->group == PYPROF_GROUP_LEAF ? TOP_WAITS
        : query->group == PYPROF_GROUP_THREAD || ui->options->threads ? TOP_THREADS : TOP_FUNCTIONS;
    ui->states = ui->options->gil ? PYPROF_STATES_GIL : ui->options->idle ? PYPROF_STATES_ALL : query->states;
    if (query->by_total) ui->sort[TOP_FUNCTIONS] = ui->sort[TOP_LINES] = TOP_COL_TOTAL_RECENT;
    for (size_t i = 0; query->sort && i < CLI_COUNT(sorts); i++)
        if (sorts[i].metric == query->sort) {
            if (sorts[i].column >= TOP_COL_LIVE) ui->view = TOP_MEMORY;
            for (int view = 0; view < TOP_VIEWS; view++) {
                const unsigned char *at = top_views[view].columns;
                while (*at != TOP_END && *at != sorts[i].column) at++;
                if (*at != TOP_END && !(query->by_total && sorts[i].column == TOP_COL_OWN_RECENT)) ui->sort[view] = sorts[i].column;
            }
            return 0;
        }
    return query->sort ? cli_fail("top does not sort by this metric: running, wall, cpu, gil, gil-wait, wait, live, peak, alloc, temp") : 0;
}

static int pyprof_cli_top(const struct cli_options *options)
{
    struct top_ui *ui = calloc(1, sizeof *ui);
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    int screen = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb"), status, end;
    if (!options->pid && !options->program && !options->inputs) {
        cli_fail("top needs --pid PID, --input FILE or a COMMAND; see pyprof top --help");
        return CLI_USAGE;
    }
    if (!ui) return cli_fail("no memory");
    ui->options = options;
    ui->delay_s = options->delay_s > 0 ? options->delay_s < 0.05 ? 0.05 : options->delay_s : 1;
    ui->utf8 = top_is_utf8();
    ui->colour = !(no_colour && *no_colour);
    ui->focus_thread = ui->focus_process = -1;
    ui->child_out = -1;
    top_size(ui);
    top_prepare_query(ui);
    top_signals(screen);
    status = top_choose(ui);
    if (!status) status = options->inputs ? top_open_saved(ui, options->input[0]) : top_open_live(ui, screen);
    if (!status && screen) top_run_screen(ui);
    else if (!status) top_run_plain(ui);
    end = top_close(ui, screen || status);
    free(ui);
    return status ? status : end;
}
#endif
