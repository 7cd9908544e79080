# Everything here takes these variables, as in: make test PYTHON=python3.12 CC=clang T=utf8
#   PYTHON      the interpreter to build against and to test with
#   PYTHONS     test-all: these interpreters only
#   T           only tests whose name contains this, and of the C tests only the programs that have some
#   JOBS        test, test-long: how many test programs run at a time; two for each CPU and one more, as more than half of the time is waiting
#   TEST_LONG   =1: test-all, asan, tsan and so on as in test-long, with the long tests
#   TEST_AGAIN  =N: a test that failed has N more tries, which are told
#   TEST_TIMES  =1: the result lines of tests in Python tell the CPU time, too
#   CFLAGS      added to ours;  WERROR= lets compilers newer than ours warn
#   ORACLE      oracle, oracle-mixed, peers: their options, as in ORACLE='--seconds 1 --workload yoyo*'
#   QUICK       bench: =1: within three minutes;  ROUNDS, WORKLOADS, MODES, SPINNERS, MINUTES ...: see bench/proof.py
#   PART        bench: cpu, memory, write, attach or instructions: that part in detail;  all: these and the table
#   CSV         bench, bench-docs: the file of the figures (BUILD/bench.csv)
#   PREFIX      install: where to (/usr/local);  LIBDIR (PREFIX/lib);  DESTDIR is put in front of both
#   SANITIZE    -fsanitize= for all that is built (asan, ubsan and tsan set it)
#   V=1         show the compiler commands
#   N           soak, campaign: the length; 1 = full, 0.01 = short
#   CASES       campaign: only cases whose name contains one of these words, as in CASES="'kill saves' filter"
#   HOSTS       test-hosts: these only, as in HOSTS='uwsgi mp-fork'
PYTHON ?= python3
CC ?= cc
BUILD ?= build
PREFIX ?= /usr/local
WERROR ?= -Werror
JOBS ?= $(shell expr 1 + 2 \* $$(nproc))
# The interpreter itself: a script of pyenv that only starts it takes longer than it does.
override PYTHON := $(or $(if $(findstring /,$(PYTHON)),,$(shell $(PYTHON) -c 'import sys; print(sys.executable)' 2>/dev/null)),$(PYTHON))
# The tests start this one: see tests/bare.py.
BARE := $(abspath $(BUILD))/python/bin/$(notdir $(PYTHON))
export PYTHON CC PYTHONS T N TEST_LONG TEST_TIMES

WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef -Wstrict-prototypes -Wcast-qual $(WERROR)
SANITIZER = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
FLAGS = $(DEBUG) $(WARNINGS) $(SANITIZER) $(CFLAGS)
# make test compiles libraries with -O1 and all else with -O0, in a half and a quarter of the time, and with line numbers alone for
# debuggers (CFLAGS=-g: all). All of them share one object of the upper sections of the header, see tests/inside.py, and the examples
# that run are linked to the object of the C tests. So it is with a sanitizer. make test-long has all of the header -O2, and compiles
# the libraries and the command as whoever installs them.
OPTIMIZE = $(if $(SANITIZE),-O1,-O2)
DEBUG = $(if $(filter -O1,$(OPTIMIZE)),-g1,-g)
COMMAND = $(CC) $(OPTIMIZE) $(FLAGS)
COMPILE = $(if $(V),,@echo '  cc $@'; )$(COMMAND)
TEST_COMMAND = $(CC) -O0 $(FLAGS)
TEST_COMPILE = $(if $(V),,@echo '  cc $@'; )$(TEST_COMMAND)
QUICK_COMMAND = $(if $(filter-out -O1,$(if $(TEST_LONG),$(OPTIMIZE))),$(COMMAND),$(TEST_COMMAND))
QUICK_COMPILE = $(if $(V),,@echo '  cc $@'; )$(QUICK_COMMAND)
LINKED = $(if $(filter -O1,$(OPTIMIZE))$(TEST_LONG),$(BUILD)/inside.o)
UPPER = $(if $(and $(TEST_LONG),$(filter-out -O1,$(OPTIMIZE))),,$(BUILD)/upper.o)
LOWER = $(if $(filter -O1,$(OPTIMIZE)),$(UPPER))
ONE_PART = -Wno-unused-const-variable
LOWER_HEADER = $(if $(LOWER),$(BUILD)/inside.h)
IS_LOWER = $(if $(LOWER),$(ONE_PART) -fvisibility=hidden -I$(BUILD) -DTEST_HEADER='"lower.h"')
IS_LINKED = $(if $(LINKED),-DPYPROF__IMPLEMENTED)
EXAMPLE_COMPILE = $(if $(filter -O1,$(OPTIMIZE)),$(QUICK_COMPILE),$(COMPILE))
LIBS = -pthread -ldl
SHARED = -shared -fPIC

# What it takes to embed $(PYTHON): see tests/embed.py. A program that includes Python.h is linked to libpython.
EMBED := $(shell $(PYTHON) tests/embed.py 2>/dev/null)
PY_INCLUDE := $(filter -isystem%,$(EMBED))
PY_SUFFIX := $(or $(filter .%,$(EMBED)),.so)
PY_LIBS := $(filter-out $(PY_INCLUDE) $(PY_SUFFIX),$(EMBED))

EMBEDDING := $(patsubst examples/%.c,$(BUILD)/%,$(shell grep -l '^.include <Python.h>' examples/*.c))
MODULE := $(firstword $(wildcard examples/*module.c))
LIBRARIES := $(patsubst examples/preload.c,$(BUILD)/libpyprof.so,$(wildcard examples/preload.c))
PROGRAMS := $(patsubst examples/%.c,$(BUILD)/%,$(filter-out $(MODULE) examples/preload.c,$(wildcard examples/*.c)))
CAN_BUILD := $(LIBRARIES) $(filter-out $(EMBEDDING),$(PROGRAMS))
ifneq ($(and $(PY_INCLUDE),$(PY_LIBS)),)
CAN_BUILD += $(filter $(EMBEDDING),$(PROGRAMS)) $(if $(MODULE),$(BUILD)/_pyprof$(PY_SUFFIX))
else
CANNOT_EMBED := no Python.h and libpython for $(PYTHON)
endif

# The tests. With T only the C programs are compiled and run that have such a test, and only the Python programs that contain
# that word, or have it in their name; shell scripts are selected by their name. A word that is nowhere can be made of parts
# by a Python program: then all of these run. The longest begin: the others run beside them.
C_SOURCES := ${shell awk -v part='$(T)' '/^TEST[A-Z_]*[(]/ { split($$0, word, /[(,)]/); split(FILENAME, path, /[\/.]/); \
    if (part == "" || index(path[2] ": " word[2], part)) print FILENAME }' tests/test_*.c | uniq}
C_TESTS := $(C_SOURCES:tests/%.c=$(BUILD)/%)
SH_TESTS := $(foreach t,$(wildcard tests/sh/*.sh),$(if $(or $(if $(T),,all),$(findstring $(T),$(t))),$(t)))
LONGEST := $(wildcard $(addprefix tests/py/test_,$(addsuffix .py,oracle env capture waits workers states native heap heap_hooks soak frames outputs sessions endings record)))
PY_ALL := $(LONGEST) $(filter-out $(LONGEST),$(wildcard tests/py/test_*.py))
WORD := $(firstword $(subst [, ,$(subst :, ,$(T))))
PY_FOUND := $(if $(T),$(shell (grep -lF -e '$(WORD)' $(PY_ALL); printf '%s\n' $(PY_ALL) | grep -F -e '$(WORD)'; \
    grep -qF -e '$(WORD)' tests/soak/*.py && echo tests/py/test_soak.py) | sort -u))
PY_TESTS := $(if $(strip $(PY_FOUND) $(if $(T),$(C_TESTS) $(SH_TESTS))),$(filter $(PY_FOUND),$(PY_ALL)),$(PY_ALL))
needs = $(if $(filter $(1:%=tests/py/test_%.py),$(PY_TESTS)),yes)
LIMIT = $(if $(TEST_LONG),1800,600)
RUN_C := $(foreach t,$(C_TESTS),"$(t) '$(T)'")
run_py = $(foreach t,$(1),"$(BARE) $(t) $(BUILD)")
RUN_PY = $(call run_py,$(filter $(PY_TESTS),$(LONGEST))) $(foreach t,$(SH_TESTS),"bash $(t) $(BUILD)") $(call run_py,$(filter-out $(LONGEST),$(PY_TESTS))) \
    $(if $(CANNOT_EMBED),"echo 'skip  examples that embed Python: $(CANNOT_EMBED)'")
SOAK := $(BUILD)/libpyprof_test.so $(BUILD)/libsoak_count.so $(if $(PY_LIBS),$(BUILD)/soak_embed)
CAMPAIGN_SOURCES := $(filter-out %/shim.c %/tls.c %/plugin.c %/tsan.c,$(wildcard tests/campaign/*.c))
CAMPAIGN_LIBRARIES := $(addprefix $(BUILD)/,libpyprof_campaign.so libcampaign_shim.so libcampaign_tls.so campaign_plugin.so \
    campaign_big_plugin.so)
CAMPAIGN := $(CAMPAIGN_LIBRARIES) $(BUILD)/campaign $(BUILD)/campaign_tsan
HEAP := $(BUILD)/libheap_count.so $(if $(PY_LIBS),$(BUILD)/heap_embed)
# The examples that no test runs are only checked by the compiler; test-long builds them.
HOST := $(filter $(BUILD)/host,$(CAN_BUILD))
TOOL := $(filter $(BUILD)/pyprof,$(CAN_BUILD))
COMPILES := $(patsubst %,%.compiles,$(filter-out $(LIBRARIES) $(HOST) $(TOOL),$(CAN_BUILD)))
NEEDED_PY := $(if $(PY_TESTS),$(BUILD)/libpyprof_test.so $(BUILD)/outside) $(if $(call needs,oracle),$(BUILD)/oracle_host.so) $(if $(call needs,soak),$(SOAK)) \
    $(if $(call needs,heap%),$(HEAP)) $(if $(call needs,bench cases env endings workers),$(LIBRARIES)) $(if $(call needs,bench),$(TOOL)) \
    $(if $(PY_INCLUDE),$(if $(call needs,module),$(BUILD)/module/_pyprof$(PY_SUFFIX))) \
    $(if $(filter %/docs.sh %/lifecycle.sh %/symbols.sh %/asserts.sh %/recipes.sh,$(SH_TESTS)),$(BUILD)/inside.o) $(if $(filter %/demo.sh %/consumers.sh,$(SH_TESTS)),$(HOST)) \
    $(if $(filter %/command.sh %/top.sh %/dump.sh %/install.sh %/profile_app.sh %/recipes.sh,$(SH_TESTS)),$(TOOL) $(LIBRARIES)) $(if $(T),,$(if $(TEST_LONG),$(CAN_BUILD),$(COMPILES)))

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --no-print-directory -j$(shell nproc)
endif
.PHONY: help demo test test-long test-all test-here test-c test-py test-sid test-hosts test-hosts-here interop interop-here examples compile-matrix asan ubsan tsan valgrind sanitized bench bench-docs \
    fuzz soak soak-all soak-here campaign campaign-here campaign-all oracle oracle-all oracle-mixed oracle-mixed-all peers lint html man install uninstall clean FORCE
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s%s\n", $$1, $$2 }' Makefile
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: ## profile real Python work in a program that embeds Python
	@tests/deps.sh $@
	@$(MAKE) $(BUILD)/host $(BUILD)/pyprof
	@{ sleep 3; read host <$(BUILD)/demo.pid && $(BUILD)/pyprof record -o $(BUILD)/demo_outside.svg --duration 3 --pid $$host && \
	        $(BUILD)/pyprof dump --pid $$host; } >$(BUILD)/demo_outside.txt 2>&1 & \
	    echo PROFILING=1 PYPROF_OUT=$(BUILD)/demo $(BUILD)/host examples/dedup.py; \
	    sh -c 'echo $$$$ >$(BUILD)/demo.pid; PROFILING=1 PYPROF_OUT=$(BUILD)/demo exec $(BUILD)/host examples/dedup.py' || exit; \
	    wait; echo; echo 'The same program while it ran, by pyprof record --pid and pyprof dump --pid:'; head -n 12 $(BUILD)/demo_outside.txt

test: ## the tests, with one Python, in five minutes on two idle CPUs
	@tests/deps.sh $@
	@$(MAKE) test-here OPTIMIZE=-O1

test-long: ## all tests in full, the long ones too, with one Python (a quarter of an hour)
	@tests/deps.sh $@
	@$(MAKE) test-here TEST_LONG=1

test-all: ## make test with every CPython 3.8 or later that is installed; TEST_LONG=1: make test-long
	@tests/deps.sh $@
	@tests/run.sh '$(MAKE) test-c' 'tests/pythons.sh "$(MAKE) test-py OPTIMIZE=-O1 PYTHON=\$$PYTHON BUILD=$(BUILD)/\$$VERSION"'

test-here: $(NEEDED_PY) $(C_TESTS) $(BARE)
	@PYTHON=$(BARE) tests/run.sh -t $(LIMIT) -j $(JOBS) $(RUN_PY) $(RUN_C)
test-c: $(C_TESTS)
	@tests/run.sh -t $(LIMIT) -j $(JOBS) $(RUN_C)
test-py: $(NEEDED_PY) $(BARE)
	@PYTHON=$(BARE) tests/run.sh -t $(LIMIT) -j $(JOBS) $(RUN_PY)

test-hosts: ## servers and other programs with Python inside, as root: uwsgi, Apache, PostgreSQL, Celery ... (HOSTS=NAME for one)
	@BUILD=$(BUILD) tests/deps.sh $@
	@$(MAKE) test-hosts-here
test-hosts-here: $(BUILD)/libpyprof.so
	@tests/run.sh -t 900 "$(PYTHON) tests/hosts/run.py $(BUILD) $(HOSTS)"

interop: ## files of every format, opened by the programs they are for: go tool pprof, speedscope, Perfetto ... (T=pprof for one)
	@BUILD=$(BUILD) tests/deps.sh $@
	@$(MAKE) interop-here
interop-here: $(BUILD)/interop_make $(HOST)
	@tests/run.sh -t 1800 "bash tests/interop.sh $(BUILD)"

test-sid: ## make test with the newest CPythons, in a Debian sid tree (as root)
	@tests/sid.sh test

compile-matrix: ## the header as C99 to C++20, with gcc and clang, in every configuration
	@tests/run.sh tests/compile.sh

asan: ## C tests, the demo and the memory hooks under AddressSanitizer and UndefinedBehaviorSanitizer
	@tests/deps.sh $@
	@$(MAKE) sanitized SANITIZE=address,undefined BUILD=$(BUILD)/asan
ubsan: ## C tests and the demo under UndefinedBehaviorSanitizer alone, which is quicker
	@tests/deps.sh $@
	@$(MAKE) sanitized SANITIZE=undefined BUILD=$(BUILD)/ubsan
tsan: ## the same under ThreadSanitizer
	@tests/deps.sh $@
	@$(MAKE) sanitized SANITIZE=thread BUILD=$(BUILD)/tsan
# A test is a process and leaves its memory to its end; leaks are found by the counting allocators of test_writers and test_memory.
ASAN_PY := $(if $(findstring address,$(SANITIZE)),$(BUILD)/libpyprof_test.so $(HEAP))
sanitized: $(C_TESTS) $(filter $(BUILD)/host,$(CAN_BUILD)) $(ASAN_PY) $(BARE)
	@ASAN_OPTIONS=detect_leaks=0 TEST_SLOW=5 $$(setarch -R true 2>/dev/null && echo setarch -R) tests/run.sh -t 600 -j $$((1 + $$(nproc))) \
	    $(if $(ASAN_PY),$(foreach t,$(wildcard tests/py/test_heap*.py),"CC='$(CC)' T='$(T)' bash tests/heap_asan.sh $(BARE) $(BUILD) $(t)")) \
	    $(RUN_C) "bash tests/sh/demo.sh $(BUILD)"

valgrind: ## C tests under valgrind
	@tests/deps.sh $@
	@$(MAKE) $(C_TESTS)
	@TEST_SLOW=20 tests/run.sh $(foreach t,$(C_TESTS),"valgrind -q --trace-children=yes --error-exitcode=9 $(t) '$(T)'")

bench: ## what profiling costs and how true it is, beside every other profiler that is here (half an hour; QUICK=1: three minutes)
	@tests/deps.sh $@
	@$(MAKE) $(BUILD)/libpyprof_test.so $(BUILD)/libpyprof.so $(BUILD)/pyprof
	@bash bench/run.sh
bench-docs: ## docs/benchmarks.md and its plot, from the figures of make bench
	@$(PYTHON) bench/figures.py $(or $(CSV),$(BUILD)/bench.csv) docs

soak: ## long runs: a million samples, 10,000 sessions, 1,000 forks, 1,000 interpreters; N=0.01 for less
	@tests/deps.sh $@
	@$(MAKE) soak-here
soak-all: ## the same with every CPython 3.8 or later that is installed
	@tests/deps.sh $@
	@tests/run.sh 'tests/pythons.sh "$(MAKE) soak-here PYTHON=\$$PYTHON BUILD=$(BUILD)/\$$VERSION"'
soak-here: $(SOAK)
	@tests/run.sh "$(PYTHON) tests/soak/run.py $(BUILD)"
campaign: ## the fault campaign: what no friendly host would do (half an hour; N=0.02: two minutes)
	@tests/deps.sh $@
	@$(MAKE) campaign-here
campaign-all: ## the same with every CPython 3.8 or later that is installed
	@tests/deps.sh $@
	@tests/run.sh 'tests/pythons.sh "$(MAKE) campaign-here PYTHON=\$$PYTHON BUILD=$(BUILD)/\$$VERSION"'
ifneq ($(and $(PY_INCLUDE),$(PY_LIBS)),)
campaign-here: $(CAMPAIGN)
	@tests/run.sh "$(PYTHON) tests/campaign/run.py $(BUILD) $(CASES) --scale $(or $(N),1)"
else
campaign-here:
	@tests/run.sh "echo 'skip  campaign: $(CANNOT_EMBED)'"
endif
oracle: $(BUILD)/libpyprof_test.so $(BUILD)/oracle_truth.so ## how true the recordings are, in every mode (a quarter of an hour)
	@$(PYTHON) tests/oracle/oracle.py $(BUILD) $(ORACLE)
oracle-all: ## the same with every CPython 3.8 or later that is installed
	@$(MAKE) $(BUILD)/libpyprof_test.so $(BUILD)/oracle_truth.so
	@tests/pythons.sh "\$$PYTHON tests/oracle/oracle.py $(BUILD) $(ORACLE)"
MIXED := $(BUILD)/libpyprof_test.so $(BUILD)/oracle_host.so
oracle-mixed: $(MIXED) ## where time goes on busy machines, beside py-spy if it is installed (an hour; ORACLE='--situation quiet' for less)
	@$(PYTHON) tests/oracle/mixed.py $(BUILD) $(ORACLE)
oracle-mixed-all: ## the same with every CPython 3.8 or later that is installed
	@$(MAKE) $(MIXED)
	@tests/pythons.sh "\$$PYTHON tests/oracle/mixed.py $(BUILD) $(ORACLE)"
peers: ## the workloads of oracle with other profilers, as far as they are installed
	@$(PYTHON) tests/oracle/peers.py $(ORACLE)

examples: $(CAN_BUILD) ## build all examples
	@$(if $(CANNOT_EMBED),echo '$(CANNOT_EMBED): left out $(EMBEDDING)')

# pointer-overflow would stop at an offset of 0 to no array, which is no error in C++ and soon none in C.
fuzz: ## pyprof_load with libFuzzer, ASan and UBSan (clang; RUNS=100000000, or CASE='-max_total_time=600')
	@mkdir -p $(BUILD)/fuzz-corpus
	clang -O1 -g -std=gnu11 -fsanitize=fuzzer,address,undefined -fno-sanitize=pointer-overflow -fno-sanitize-recover=all \
	    tests/fuzz/fuzz_load.c -o $(BUILD)/fuzz_load $(LIBS)
	$(BUILD)/fuzz_load -runs=$(or $(RUNS),1000000) -max_len=12000 -dict=tests/fuzz/json.dict $(CASE) $(BUILD)/fuzz-corpus tests/fuzz/corpus

html: ## bring docs/report.html, the page of the format .html, into pyprof.h
	@$(PYTHON) tests/page.py

lint: ## check the rules of style
	@tests/run.sh tests/lint.sh

# Where make install puts its files; completions are for bash, zsh and fish.
LIBDIR ?= $(PREFIX)/lib
VERSION := $(shell sed -n 's/^.define PYPROF_VERSION_STRING "\(.*\)"/\1/p' pyprof.h)
INSTALLED := bin/pyprof include/pyprof.h share/man/man1/pyprof.1 share/pkgconfig/pyprof.pc share/bash-completion/completions/pyprof \
    share/zsh/site-functions/_pyprof share/fish/vendor_completions.d/pyprof.fish
INSTALLED_LIBRARIES := libpyprof.so cmake/pyprof/pyprof-config.cmake cmake/pyprof/pyprof-config-version.cmake
TO := $(DESTDIR)$(PREFIX)
TO_LIBRARIES := $(DESTDIR)$(LIBDIR)
FILL_IN = sed -e 's,@VERSION@,$(VERSION),' -e "s,@PREFIX@,$$(realpath -m --relative-to='$(LIBDIR)/cmake/pyprof' '$(PREFIX)'),"

install: $(BUILD)/pyprof $(BUILD)/libpyprof.so ## command, library, header, man page, completions, pkg-config and CMake files, to $(DESTDIR)$(PREFIX)
	@mkdir -p $(addprefix $(TO)/,$(sort $(dir $(INSTALLED)))) $(TO_LIBRARIES)/cmake/pyprof
	install -m 755 $(BUILD)/pyprof $(TO)/bin/pyprof
	install -m 755 $(BUILD)/libpyprof.so $(TO_LIBRARIES)/libpyprof.so
	install -m 644 pyprof.h $(TO)/include/pyprof.h
	install -m 644 docs/pyprof.1 $(TO)/share/man/man1/pyprof.1
	$(BUILD)/pyprof completion bash >$(TO)/share/bash-completion/completions/pyprof
	$(BUILD)/pyprof completion zsh >$(TO)/share/zsh/site-functions/_pyprof
	$(BUILD)/pyprof completion fish >$(TO)/share/fish/vendor_completions.d/pyprof.fish
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'preload=$${libdir}/libpyprof.so' 'Name: pyprof' \
	    'Description: profiler for programs that embed CPython' 'Version: $(VERSION)' \
	    'Cflags: -I$${prefix}/include -pthread' 'Libs: -pthread -ldl' >$(TO)/share/pkgconfig/pyprof.pc
	@for file in pyprof-config.cmake pyprof-config-version.cmake; do \
	    $(FILL_IN) examples/cmake/$$file.in >$(TO_LIBRARIES)/cmake/pyprof/$$file || exit; done
uninstall: ## remove them
	rm -f $(addprefix $(TO)/,$(INSTALLED)) $(addprefix $(TO_LIBRARIES)/,$(INSTALLED_LIBRARIES))
	@rmdir $(TO_LIBRARIES)/cmake/pyprof 2>/dev/null || true

clean: ## remove what was built
	rm -rf $(BUILD)

# The rules. Whatever is built depends on the header and on the commands used; the examples are C as compilers default to.
$(C_TESTS) $(BUILD)/interop_make: tests/test.h tests/model.h tests/written.h tests/chance.h tests/big.h
$(CAN_BUILD) $(BUILD)/libpyprof.o $(BUILD)/libpyprof_test.o $(COMPILES) $(SOAK) $(HEAP) $(BUILD)/oracle_truth.so $(CAMPAIGN): pyprof.h $(BUILD)/commands
$(C_TESTS) $(BUILD)/interop_make $(BUILD)/upper.o $(BUILD)/inside.o $(BUILD)/soak_embed $(BUILD)/heap_embed: pyprof.h $(BUILD)/quick_commands
$(BUILD)/commands: FORCE
	@mkdir -p $(BUILD)
	@echo '$(COMMAND) $(EMBED)' | cmp -s - $@ || echo '$(COMMAND) $(EMBED)' >$@
$(BUILD)/quick_commands: FORCE
	@mkdir -p $(BUILD)
	@echo '$(QUICK_COMMAND) $(EMBED)' | cmp -s - $@ || echo '$(QUICK_COMMAND) $(EMBED)' >$@

$(BARE): FORCE
	@$(PYTHON) tests/bare.py $@

# The C tests see the inside of the header and need not compile it: see tests/inside.py. Some change it by macros of their own.
WHOLE := $(patsubst tests/%.c,$(BUILD)/%,$(shell grep -l '^.define PYPROF_IMPLEMENTATION' tests/test_*.c))
$(filter-out $(WHOLE),$(C_TESTS)): $(BUILD)/inside.o
$(BUILD)/test_assert: examples/pyprof_assert.h
$(WHOLE): $(UPPER)
$(WHOLE): TEST_COMPILE = $(QUICK_COMPILE) $(if $(UPPER),$(ONE_PART) -DTEST_HEADER='"lower.h"')
$(BUILD)/test_%: tests/test_%.c
	$(TEST_COMPILE) -std=c11 -I$(BUILD) $(filter %.c %.o,$^) -o $@ $(LIBS)
$(BUILD)/interop_make: tests/interop/make.c tests/test_writers.c tests/test_memory_writers.c $(BUILD)/inside.o
	$(QUICK_COMPILE) -std=c11 -I$(BUILD) -DINTEROP_MEMORY -c $< -o $@.o
	$(QUICK_COMPILE) -std=c11 -I$(BUILD) $< $@.o $(BUILD)/inside.o -o $@ $(LIBS)
$(BUILD)/inside.h: pyprof.h tests/inside.py
	@mkdir -p $(BUILD)
	@$(PYTHON) tests/inside.py $< $(BUILD)
$(BUILD)/upper.o: $(BUILD)/inside.h
	$(QUICK_COMPILE) -std=c11 -O1 -fPIC -fvisibility=hidden $(ONE_PART) -c $(BUILD)/upper.c -o $@
$(BUILD)/inside.o: $(BUILD)/inside.h $(UPPER)
	$(QUICK_COMPILE) -std=c11 -fPIC -fvisibility=hidden $(ONE_PART) -c -x c $(BUILD)/$(if $(UPPER),lower.h -o $@.lower,whole.h -o $@)
	$(if $(UPPER),@$(CC) -nostdlib -r $(UPPER) $@.lower -o $@)
$(BUILD)/libpyprof_test.o: tests/dll.c tests/big.h $(LOWER_HEADER)
	$(COMPILE) -std=c11 -fPIC $(IS_LOWER) -c $< -o $@
$(BUILD)/outside: tests/outside.c $(BUILD)/libpyprof_test.so
	$(QUICK_COMPILE) -std=gnu11 $^ -o $@ -Wl,-rpath,$(abspath $(BUILD)) $(LIBS)
$(BUILD)/libsoak_count.so: tests/soak/count.c
	$(COMPILE) -std=c11 $(SHARED) $< -o $@
$(BUILD)/soak_embed: tests/soak/embed.c $(BUILD)/inside.o
	$(QUICK_COMPILE) -std=gnu11 $(filter %.c %.o,$^) -o $@ $(LIBS) $(PY_LIBS)
$(BUILD)/libheap_count.so: tests/heap_count.c
	$(COMPILE) -std=c11 $(SHARED) $< -o $@ $(LIBS)
$(BUILD)/heap_embed: tests/heap_embed.c $(BUILD)/inside.o
	$(QUICK_COMPILE) -std=gnu11 $(filter %.c %.o,$^) -o $@ $(LIBS) $(PY_LIBS)
$(BUILD)/libpyprof_campaign.so: pyprof.h
	$(COMPILE) -std=c11 $(SHARED) -DPYPROF_DLL -DPYPROF_IMPLEMENTATION -x c $< -o $@ $(LIBS)
$(BUILD)/libcampaign_%.so: tests/campaign/%.c tests/campaign/shim.h
	$(QUICK_COMPILE) -std=gnu11 $(SHARED) $< -o $@ $(LIBS)
$(BUILD)/campaign_plugin.so: tests/campaign/plugin.c tests/campaign/plugin.h
	$(COMPILE) -std=gnu11 $(SHARED) $< -o $@ $(LIBS)
$(BUILD)/campaign_big_plugin.so: tests/campaign/plugin.c tests/campaign/plugin.h
	$(COMPILE) -std=gnu11 $(SHARED) -DBIG_TLS=500000 $< -o $@ $(LIBS)
$(BUILD)/campaign: $(CAMPAIGN_SOURCES) $(wildcard tests/campaign/*.h) $(BUILD)/libpyprof_campaign.so
	$(QUICK_COMPILE) -std=gnu11 -rdynamic $(PY_INCLUDE) $(CAMPAIGN_SOURCES) -o $@ -L$(BUILD) -lpyprof_campaign \
	    -Wl,-rpath,$(abspath $(BUILD)) $(LIBS) $(PY_LIBS)
$(BUILD)/campaign_tsan: $(CAMPAIGN_SOURCES) tests/campaign/tsan.c $(wildcard tests/campaign/*.h)
	$(QUICK_COMPILE) -O1 -fsanitize=thread -fno-omit-frame-pointer -std=gnu11 -rdynamic $(PY_INCLUDE) $(CAMPAIGN_SOURCES) \
	    tests/campaign/tsan.c -o $@ $(LIBS) $(PY_LIBS)
$(BUILD)/oracle_truth.so: tests/oracle/truth.c
	$(COMPILE) -std=c11 $(SHARED) $< -o $@ $(LIBS) -lrt
PRELOAD_MACROS := $(shell sed -n 's/^.define \(PYPROF_[A-Z_]*\).*/-D\1=/p' examples/preload.c)
$(BUILD)/oracle_host.so: tests/oracle/host.c $(BUILD)/commands
	$(COMPILE) -std=c11 $(SHARED) $< -o $@ $(LIBS)
$(BUILD)/libpyprof.o: examples/preload.c $(LOWER_HEADER)
	$(COMPILE) -std=gnu11 -fPIC $(if $(LOWER),$(ONE_PART) -fvisibility=hidden $(PRELOAD_MACROS) -include $(BUILD)/lower.h) -c $< -o $@
$(BUILD)/libpyprof.so $(BUILD)/libpyprof_test.so: $(BUILD)/%.so: $(BUILD)/%.o $(LOWER)
	@$(CC) $(SANITIZER) $(CFLAGS) -shared $(filter %.o,$^) -o $@ $(LIBS)
$(BUILD)/_pyprof$(PY_SUFFIX): $(MODULE) $(BUILD)/pyprof.py
	$(COMPILE) -std=gnu11 $(SHARED) $(PY_INCLUDE) $(if $(filter %.o,$^),$(IS_LINKED)) $< $(filter %.o,$^) -o $@ $(LIBS)
$(BUILD)/pyprof.py: examples/pyprof.py $(wildcard examples/pytest_pyprof.py)
	@mkdir -p $(BUILD) && rm -f $(BUILD)/pyprof.*.so # an older extension module of that name, which Python would prefer
	@cp $^ $(BUILD)/
# The same module for the tests: compiled in a second, the profiler is that of the tests.
$(BUILD)/module/_pyprof$(PY_SUFFIX): $(MODULE) examples/pyprof.py $(wildcard examples/pytest_pyprof.py) $(BUILD)/libpyprof_test.so
	@mkdir -p $(BUILD)/module && cp $(filter %.py,$^) $(BUILD)/module/
	$(QUICK_COMPILE) -std=gnu11 $(SHARED) $(PY_INCLUDE) -DPYPROF_DLL -DPYPROF__IMPLEMENTED $< -o $@ -L$(BUILD) -l:libpyprof_test.so \
	    -Wl,-rpath,$(abspath $(BUILD))
$(filter-out $(LIBRARIES) $(TOOL),$(CAN_BUILD)) $(if $(filter -O1,$(OPTIMIZE)),$(TOOL)): $(LINKED)
$(EMBEDDING): $(BUILD)/%: examples/%.c
	$(EXAMPLE_COMPILE) -std=gnu11 $(PY_INCLUDE) $(if $(filter %.o,$^),$(IS_LINKED)) $< $(filter %.o,$^) -o $@ $(LIBS) $(PY_LIBS)
$(BUILD)/pyprof $(BUILD)/pyprof.compiles: $(filter-out %/pyprof_assert.h,$(wildcard examples/pyprof_*.h))
$(BUILD)/pyprof: LIBS += -lm
man: $(BUILD)/pyprof ## write docs/pyprof.1, and the completions for shells to $(BUILD)/completions
	$< --man >docs/pyprof.1
	@mkdir -p $(BUILD)/completions
	$< completion bash >$(BUILD)/completions/pyprof
	$< completion zsh >$(BUILD)/completions/_pyprof
	$< completion fish >$(BUILD)/completions/pyprof.fish
$(BUILD)/%: examples/%.c
	$(EXAMPLE_COMPILE) -std=gnu11 $(if $(filter %.o,$^),$(IS_LINKED)) $< $(filter %.o,$^) -o $@ $(LIBS)
$(BUILD)/%.compiles: examples/%.c
	$(COMPILE) -std=gnu11 $(PY_INCLUDE) $(IS_LINKED) -fsyntax-only $<
	@touch $@
$(BUILD)/_pyprof$(PY_SUFFIX).compiles: $(MODULE)
	$(COMPILE) -std=gnu11 $(PY_INCLUDE) $(IS_LINKED) -fsyntax-only $<
	@touch $@
