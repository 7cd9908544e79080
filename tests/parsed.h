// parsed.h - JSON as a tree, for tests that look into what was written. Include it after test.h.
#ifndef PARSED_H
#define PARSED_H

typedef struct parsed {
    char type;                        // { [ " 0 (a number), t, f or n
    const char *key, *text;           // in an object; a string's text
    double number;
    long long integer;                // the number without its fraction
    struct parsed *first, *next;      // the first value inside, the next one beside
    size_t count;                     // values inside
} parsed;

static inline parsed *parse_value(const char **at);

static inline void parse_space(const char **at) { *at += strspn(*at, " \n\t\r"); }

static inline char *parse_utf8(char *out, unsigned c)
{
    if (c < 0x80) *out++ = (char)c;
    else if (c < 0x800) { *out++ = (char)(0xc0 | c >> 6); *out++ = (char)(0x80 | (c & 63)); }
    else { *out++ = (char)(0xe0 | c >> 12); *out++ = (char)(0x80 | (c >> 6 & 63)); *out++ = (char)(0x80 | (c & 63)); }
    return out;
}

static inline char *parse_text(const char **at)
{
    size_t size = 1;
    CHECK(**at == '"');
    while ((*at)[size] && (*at)[size] != '"') size += (*at)[size] == '\\' && (*at)[size + 1] ? 2 : 1;
    char *text = malloc(size), *out = text;
    for (++*at; **at != '"'; ++*at) {
        CHECK(**at);
        if (**at != '\\') { *out++ = **at; continue; }
        ++*at;
        if (**at == 'u') {
            char hex[5] = { (*at)[1], (*at)[2], (*at)[3], (*at)[4], 0 };
            out = parse_utf8(out, (unsigned)strtoul(hex, NULL, 16));
            *at += 4;
        } else {
            const char *from = "nrtbf", *found = strchr(from, **at);
            *out++ = found ? "\n\r\t\b\f"[found - from] : **at;
        }
    }
    ++*at;
    *out = '\0';
    return text;
}

static inline parsed *parse_list(const char **at, parsed *list)
{
    char end = **at == '{' ? '}' : ']';
    parsed **last = &list->first;
    ++*at;
    for (parse_space(at); **at != end; parse_space(at)) {
        const char *key = NULL;
        if (list->count) { CHECK(**at == ','); ++*at; parse_space(at); }
        if (end == '}') { key = parse_text(at); parse_space(at); CHECK(**at == ':'); ++*at; }
        *last = parse_value(at);
        (*last)->key = key;
        last = &(*last)->next;
        list->count++;
    }
    ++*at;
    return list;
}

static inline parsed *parse_value(const char **at)
{
    parsed *value = calloc(1, sizeof *value);
    char *end;
    parse_space(at);
    value->type = strchr("-0123456789", **at) && **at ? '0' : **at;
    if (value->type == '{' || value->type == '[') return parse_list(at, value);
    if (value->type == '"') { value->text = parse_text(at); return value; }
    if (value->type == '0') {
        value->number = strtod(*at, &end);
        value->integer = strtoll(*at, NULL, 10);
        *at = end;
        return value;
    }
    CHECK(strchr("tfn", value->type) && value->type);
    *at += value->type == 'f' ? 5 : 4;
    return value;
}

static inline parsed *parse(const char *text)
{
    parsed *value = parse_value(&text);
    parse_space(&text);
    CHECK(!*text);
    return value;
}

// A value of an object; it must be there.
static inline const parsed *get(const parsed *object, const char *key)
{
    const parsed *value = object->first;
    CHECK(object->type == '{');
    while (value && strcmp(value->key, key)) value = value->next;
    if (!value) printf("no %s\n", key);
    CHECK(value != NULL);
    return value;
}

static inline int has(const parsed *object, const char *key)
{
    const parsed *value = object->first;
    while (value && strcmp(value->key, key)) value = value->next;
    return value != NULL;
}
#endif
