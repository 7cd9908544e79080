// What is read of files and texts nobody vouches for: ELF files cut short or full of rubbish, versions, memory maps.
#include "test.h"
#include "inside.h"

static pyprof__pool pool;
static char path[64];

static int find(const unsigned char *data, size_t size, pyprof__symbols *found)   // in a file of these bytes; 1 = it has a runtime
{
    pyprof__elf elf;
    int there = 0, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    memset(found, 0, sizeof *found);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
    if (pyprof__elf_open(&elf, &pool, path)) {
        pyprof__elf_bias(&elf, 0x10000);
        there = pyprof__elf_find(&elf, found);
        pyprof__elf_close(&elf);
    }
    CHECK_INT(pool.used, 0);
    return there;
}

enum { NAMES = 0x200, SYMBOLS = 0x280, SECTIONS = 0x300, SIZE = SECTIONS + 5 * sizeof(Elf64_Shdr) };

// A small ELF file: symbols, their names, and a section .PyRuntime.
static void build(unsigned char *data)
{
    static const char names[] = "\0_PyRuntime\0Py_Version\0.PyRuntime\0.dynsym";
    Elf64_Ehdr header = { .e_ident = ELFMAG, .e_type = ET_DYN, .e_phoff = sizeof header, .e_phnum = 1, .e_phentsize = sizeof(Elf64_Phdr),
                          .e_shoff = SECTIONS, .e_shnum = 5, .e_shentsize = sizeof(Elf64_Shdr), .e_shstrndx = 1 };
    Elf64_Phdr load = { .p_type = PT_LOAD, .p_vaddr = 0x1000, .p_offset = 0x1000 };
    Elf64_Sym symbols[3] = { { 0 }, { .st_name = 1, .st_shndx = 3, .st_value = 0x5000, .st_size = 672 }, { .st_name = 12, .st_shndx = 3, .st_value = 0x6000 } };
    Elf64_Shdr sections[5] = { { 0 }, { .sh_type = SHT_STRTAB, .sh_offset = NAMES, .sh_size = sizeof names },
                               { .sh_type = SHT_DYNSYM, .sh_offset = SYMBOLS, .sh_size = sizeof symbols, .sh_link = 1 },
                               { .sh_name = 23, .sh_type = SHT_PROGBITS, .sh_addr = 0x7000, .sh_size = 656 }, { 0 } };
    header.e_ident[EI_CLASS] = ELFCLASS64;
    strcpy(path, "/tmp/pyprof-test-XXXXXX");
    close(mkstemp(path));
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    memset(data, 0, SIZE);
    memcpy(data, &header, sizeof header);
    memcpy(data + sizeof header, &load, sizeof load);
    memcpy(data + NAMES, names, sizeof names);
    memcpy(data + SYMBOLS, symbols, sizeof symbols);
    memcpy(data + SECTIONS, sections, sizeof sections);
}

TEST(elf_symbols_and_section)
{
    unsigned char data[SIZE];
    pyprof__symbols found;
    build(data);
    CHECK(find(data, SIZE, &found));
    CHECK_INT(found.runtime, 0x5000);
    CHECK_INT(found.runtime_size, 672);
    CHECK_INT(found.py_version, 0x6000);
    memset(data + SYMBOLS, 0, 3 * sizeof(Elf64_Sym));   // stripped: the section is left
    CHECK(find(data, SIZE, &found));
    CHECK_INT(found.runtime, 0x7000);
    CHECK_INT(found.runtime_size, 656);
    data[EI_CLASS] = ELFCLASS32;
    CHECK(!find(data, SIZE, &found));
    unlink(path);
}

TEST(elf_cut_short)
{
    unsigned char data[SIZE];
    pyprof__symbols found;
    build(data);
    for (size_t size = 0; size < SECTIONS + sizeof(Elf64_Shdr) * 3; size++) CHECK(!find(data, size, &found));
    unlink(path);
}

TEST_LIMIT(elf_with_any_byte_changed, 100)
{
    unsigned char data[SIZE], value[] = { 0, 1, 0x7f, 0x80, 0xff };
    pyprof__symbols found;
    build(data);
    for (size_t i = 0; i < SIZE; i++) {
        unsigned char before = data[i];
        for (size_t k = test_long() ? 0 : i % sizeof value; k < sizeof value; k += test_long() ? 1 : sizeof value) data[i] = value[k], find(data, SIZE, &found);
        data[i] = before;
    }
    unlink(path);
}

TEST_LIMIT(elf_with_random_fields, 300)
{
    unsigned char data[SIZE];
    pyprof__symbols found;
    uint64_t random = 99;
    build(data);
    for (int round = 0; round < (test_long() ? 20000 : 1000); round++) {
        unsigned char copy[SIZE];
        memcpy(copy, data, SIZE);
        for (int i = 0; i < 4; i++) {
            size_t at = pyprof__random(&random) % (SIZE / 8) * 8, shift = pyprof__random(&random) % 64;
            uint64_t value = pyprof__random(&random) >> shift;
            if (at >= 16) memcpy(copy + at, &value, 8);   // it stays an ELF file
        }
        find(copy, SIZE, &found);
    }
    unlink(path);
}

TEST(elf_that_is_no_file)
{
    pyprof__elf elf;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    CHECK(!pyprof__elf_open(&elf, &pool, "/nowhere"));
    CHECK(!pyprof__elf_open(&elf, &pool, "/tmp"));
    CHECK(!pyprof__elf_open(&elf, &pool, "/dev/null"));
    CHECK(!pyprof__elf_open(&elf, &pool, ""));
}

static int versions_asked, versions_empty;
static const char *version_being_written(void) { return versions_asked++ < versions_empty ? "" : "3.10.13 (main)"; }

TEST(a_version_that_another_thread_is_writing)
{
    pyprof__get_version_fn *fn = version_being_written;
    void *address;
    memcpy(&address, &fn, sizeof address);
    CHECK_INT(pyprof__call_get_version(0), 0);
    versions_empty = 3;
    CHECK_INT(pyprof__call_get_version((uint64_t)(uintptr_t)address), 0x030a0df0);
    CHECK_INT(versions_asked, 4);
    versions_empty = 1000000;   // it is never told: give up
    CHECK_INT(pyprof__call_get_version((uint64_t)(uintptr_t)address), 0);
    CHECK(versions_asked < 1000);
}

TEST(versions)
{
    static const struct { const char *text; uint32_t want; } cases[] = {
        { "3.9.18 (main, Jan  1 2024) \n[GCC 12]", 0x030912f0 }, { "3.8.0", 0x030800f0 }, { "3.15.2", 0x030f02f0 }, { "3.12.1+", 0x030c01f0 },
        { "", 0 }, { "3", 0 }, { "3.", 0 }, { "3.x.1", 0 }, { "3.12", 0 }, { "2.7.18", 0 }, { "4.0.0", 0 }, { "3.999.1", 0 }, { "3.-1.2", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) CHECK_INT(pyprof__parse_version(cases[i].text), cases[i].want);
    char text[32];
    static const struct { uint32_t version; const char *want; } texts[] = {
        { 0x030c01f0, "3.12.1" }, { 0x030d00c1, "3.13.0rc1" }, { 0x030f00a3, "3.15.0a3" }, { 0x030e00b2, "3.14.0b2" }, { 0x030812f0, "3.8.18" },
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        pyprof__version_text(texts[i].version, text, sizeof text);
        CHECK_STR(text, texts[i].want);
    }
}

TEST(memory_map)
{
    static const char maps[] =
        "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/my program\n"
        "00651000-00652000 rw-p 00051000 08:02 173521      /usr/bin/my program (deleted)\n"
        "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
        "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]\n";
    pyprof__mapping mapping;
    const char *at = pyprof__next_mapping(maps, &mapping);
    CHECK(at && mapping.start == 0x400000 && mapping.end == 0x452000 && !mapping.writable);
    CHECK_STR(mapping.path, "/usr/bin/my program");
    CHECK((at = pyprof__next_mapping(at, &mapping)) && mapping.writable);
    CHECK((at = pyprof__next_mapping(at, &mapping)) && mapping.path[0] == '\0' && mapping.writable);
    CHECK((at = pyprof__next_mapping(at, &mapping)) != NULL);
    CHECK_STR(mapping.path, "[stack]");
    CHECK(pyprof__next_mapping(at, &mapping) == NULL);
    CHECK(pyprof__next_mapping("", &mapping) == NULL);
}

// ---- the same file as a process has it in memory ----------------------------------------------------------------------

enum { STRINGS = 0x200, TABLE = 0x280, GNU = 0x300, SYSV = 0x380, DYNAMIC = 0x400, IMAGE = 0x1000 };

static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;
    for (; *name; name++) hash = hash * 33 + (unsigned char)*name;
    return hash;
}

// relocated: the dynamic section has addresses, as glibc leaves them, not offsets, as musl does.
static void build_image(unsigned char *data, int with_gnu, int with_sysv, int relocated)
{
    static const char names[] = "\0_PyRuntime\0Py_Version";
    Elf64_Ehdr header = { .e_ident = ELFMAG, .e_type = ET_DYN, .e_phoff = sizeof header, .e_phnum = 2, .e_phentsize = sizeof(Elf64_Phdr) };
    Elf64_Phdr parts[2] = { { .p_type = PT_LOAD }, { .p_type = PT_DYNAMIC, .p_vaddr = DYNAMIC, .p_memsz = 8 * sizeof(Elf64_Dyn) } };
    Elf64_Sym symbols[3] = { { 0 }, { .st_name = 1, .st_shndx = 3, .st_value = 0x800, .st_size = 672 }, { .st_name = 12, .st_shndx = 3, .st_value = 0x900 } };
    uint32_t gnu[9] = { 1, 1, 1, 6, 0, 0, 1, gnu_hash("_PyRuntime") & ~1u, gnu_hash("Py_Version") | 1 };   // one bucket
    uint32_t sysv[6] = { 1, 3, 1, 0, 2, 0 };
    uint64_t base = relocated ? (uint64_t)(uintptr_t)data : 0;
    Elf64_Dyn dynamic[5] = { { .d_tag = DT_STRTAB, .d_un.d_ptr = base + STRINGS }, { .d_tag = DT_SYMTAB, .d_un.d_ptr = base + TABLE },
                             { .d_tag = with_gnu ? DT_GNU_HASH : DT_DEBUG, .d_un.d_ptr = base + GNU },
                             { .d_tag = with_sysv ? DT_HASH : DT_DEBUG, .d_un.d_ptr = base + SYSV }, { 0 } };
    header.e_ident[EI_CLASS] = ELFCLASS64;
    memset(data, 0, IMAGE);
    memcpy(data, &header, sizeof header);
    memcpy(data + sizeof header, parts, sizeof parts);
    memcpy(data + STRINGS, names, sizeof names);
    memcpy(data + TABLE, symbols, sizeof symbols);
    memcpy(data + GNU, gnu, sizeof gnu);
    memcpy(data + SYSV, sysv, sizeof sysv);
    memcpy(data + DYNAMIC, dynamic, sizeof dynamic);
}

static int find_image(const pyprof__origin *origin, const unsigned char *data, pyprof__symbols *found)
{
    pyprof__image image;
    memset(found, 0, sizeof *found);
    return pyprof__image_open(&image, origin, (uint64_t)(uintptr_t)data) && pyprof__image_find(&image, found);
}

static unsigned char image_memory[IMAGE] __attribute__((aligned(4096)));

TEST(image_symbols)
{
    pyprof__origin origin;
    pyprof__symbols found;
    CHECK_INT(pyprof__origin_open(&origin, &pyprof__own_proc), PYPROF_OK);
    for (int how = 0; how < 8; how++) {
        build_image(image_memory, how & 1, how & 2, how & 4);
        CHECK_INT(find_image(&origin, image_memory, &found), (how & 3) != 0);
        if (!(how & 3)) continue;
        CHECK_INT(found.runtime, (uint64_t)(uintptr_t)image_memory + 0x800);
        CHECK_INT(found.runtime_size, 672);
        CHECK_INT(found.py_version, (uint64_t)(uintptr_t)image_memory + 0x900);
        CHECK_INT(found.get_version, 0);
    }
    image_memory[EI_CLASS] = ELFCLASS32;
    CHECK(!find_image(&origin, image_memory, &found));
    pyprof__origin_close(&origin);
}

TEST_LIMIT(image_with_random_fields, 300)
{
    pyprof__origin origin;
    pyprof__symbols found;
    uint64_t random = 7;
    CHECK_INT(pyprof__origin_open(&origin, &pyprof__own_proc), PYPROF_OK);
    for (int round = 0; round < (test_long() ? 100000 : 5000); round++) {
        build_image(image_memory, round & 1, 1, round & 4);
        for (int i = 0; i < 4; i++) {
            size_t at = pyprof__random(&random) % (0x480 / 4) * 4, shift = pyprof__random(&random) % 64;
            uint64_t value = pyprof__random(&random) >> shift;
            if (at >= 16) memcpy(image_memory + at, &value, pyprof__random(&random) & 1 ? 4 : 8);
        }
        find_image(&origin, image_memory, &found);
    }
    pyprof__origin_close(&origin);
}

TEST(version_in_the_name_of_a_file)
{
    static const struct { const char *path; uint32_t want; } cases[] = {
        { "/usr/lib/libpython3.7m.so.1.0", 0x03070000 }, { "/usr/bin/python2.7", 0x02070000 }, { "/x/python3.12", 0x030c0000 },
        { "/x/libpython3.13t.so.1.0", 0x030d0000 }, { "/python3.11/bin/app", 0 }, { "/x/python", 0 }, { "/x/python3", 0 }, { "", 0 }, { "/x/pythonx.y", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) CHECK_INT(pyprof__version_by_name(cases[i].path), cases[i].want);
}

TEST_LIMIT(memory_maps_that_are_rubbish, 100)
{
    static const char line[] = "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/my program\n";
    pyprof__mapping mapping;
    uint64_t random = 5;
    for (int round = 0; round < 20000; round++) {
        char text[2 * sizeof line];
        const char *at = text;
        snprintf(text, sizeof text, "%s%s", line, line);
        for (int i = 0; i < 5; i++) text[pyprof__random(&random) % (sizeof text - 2)] = "\n 0-/:x["[pyprof__random(&random) % 8];
        for (int lines = 0; (at = pyprof__next_mapping(at, &mapping)) != NULL && lines < 200; lines++)
            CHECK(strlen(mapping.path) < sizeof mapping.path && pyprof__mapping_rank(&mapping, "/x") >= -1);
    }
}

TEST(a_status_file)
{
    static const char text[] = "Name:\tx\nTgid:\t77\nUid:\t1\t2\t3\t4\nNSpid:\t5001\t17\t2\nCapPrm:\t00000000000000c0\nSeccomp:\t2\n";
    pyprof__person person;
    CHECK_INT(atoi(pyprof__status_line(text, "\nTgid:")), 77);
    CHECK(pyprof__status_line(text, "\nNope:") == NULL);
    CHECK_INT(pyprof__last_number(pyprof__status_line(text, "\nNSpid:")), 2);
    CHECK_INT(pyprof__last_number(NULL), 0);
    CHECK_INT(pyprof__last_number("x"), 0);
    pyprof__person_of(&person, text, 0);
    CHECK(person.real == 1 && person.effective == 2 && person.saved == 3 && person.caps == 0xc0 && person.filtered);
    pyprof__person_of(&person, "", 1);
    CHECK(person.real == 0 && !person.filtered);
}

TEST_MAIN
