#!/bin/bash
# make install, and projects that use what it installed: by pkg-config, by find_package, and by FetchContent without it.
#
#   tests/sh/install.sh BUILD_DIR
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

has() { command -v "$1" >/dev/null; }
for need in make realpath; do has $need || { skip "all of it" "no $need"; finish; }; done
for need in pyprof libpyprof.so; do [ -e "$build/$need" ] || { skip "all of it" "no $build/$need"; finish; }; done
prefix=$dir/usr library=$dir/usr/lib/here
version=$(sed -n 's/^#define PYPROF_VERSION_STRING "\(.*\)"/\1/p' pyprof.h)

makes() { # TARGET...: with the programs that there are: -o says that they are not to be built anew
    env -u MAKEFLAGS -u MAKELEVEL -u MAKEOVERRIDES make -s BUILD="$build" -o "$build/commands" -o "$build/quick_commands" \
        -o "$build/pyprof" -o "$build/libpyprof.so" PREFIX="$prefix" LIBDIR="$library" "$@"
}
list() { (cd "$1" && find . ! -type d | LC_ALL=C sort); }
installs() {
    makes install && list "$prefix" >"$dir/list" && diff - "$dir/list" <<'END' && "$prefix/bin/pyprof" --version | grep -F "$version"
./bin/pyprof
./include/pyprof.h
./lib/here/cmake/pyprof/pyprof-config-version.cmake
./lib/here/cmake/pyprof/pyprof-config.cmake
./lib/here/libpyprof.so
./share/bash-completion/completions/pyprof
./share/fish/vendor_completions.d/pyprof.fish
./share/man/man1/pyprof.1
./share/pkgconfig/pyprof.pc
./share/zsh/site-functions/_pyprof
END
}
stages() { # DESTDIR is in no file
    makes install DESTDIR="$dir/stage" && list "$dir/stage$prefix" | diff "$dir/list" - &&
        ! grep -rIl "$dir/stage" "$dir/stage" && diff -r "$prefix" "$dir/stage$prefix"
}
uninstalls() { makes uninstall && [ -z "$(list "$prefix")" ] && [ ! -e "$library/cmake/pyprof" ]; }

# In make test one consumer is linked to the implementation that there is, and the others have only its stubs, which is quicker.
consumer() { # FOLDER MACRO
    mkdir -p "$1" && printf '%s\n' "#define $2" '#include <pyprof.h>' '#include <stdio.h>' 'int main(void)' '{' '    pyprof *session = NULL;' \
        '    pyprof_result result = pyprof_start(NULL, &session);' '    pyprof_stop(session, NULL);' \
        '    printf("%d %s\n", result != PYPROF_ERR_ARGUMENT, PYPROF_VERSION_STRING);' '    return 0;' '}' >"$1/main.c"
}
stubs=PYPROF_DISABLE linked=()
[ -n "${TEST_LONG:-}" ] || [ ! -e "$build/inside.o" ] || linked=(-DPYPROF__IMPLEMENTED "$build/inside.o")
[ -z "${TEST_LONG:-}" ] || stubs=PYPROF_IMPLEMENTATION
by_pkg_config() {
    local flags
    export PKG_CONFIG_PATH=$prefix/share/pkgconfig
    consumer "$dir/pc" PYPROF_IMPLEMENTATION && [ "$(pkg-config --modversion pyprof)" = "$version" ] &&
        [ -e "$(pkg-config --variable=preload pyprof)" ] && read -r -a flags < <(pkg-config --cflags --libs pyprof) &&
        "$CC" "${linked[@]}" "$dir/pc/main.c" "${flags[@]}" -o "$dir/pc/main" && [ "$("$dir/pc/main")" = "1 $version" ]
}
builds() { # FOLDER OPTION...: its program says the version, and the preload library is one
    cmake -S "$1" -B "$1/build" -DCMAKE_C_COMPILER="$CC" "${@:2}" && cmake --build "$1/build" &&
        [ "$("$1/build/main" | cut -d' ' -f2)" = "$version" ]
}
by_find_package() {
    consumer "$dir/found" "$stubs" && cat >"$dir/found/CMakeLists.txt" <<'END' || return
cmake_minimum_required(VERSION 3.14)
project(consumer LANGUAGES C)
find_package(pyprof 0.1 REQUIRED)
if(NOT EXISTS "${PYPROF_COMMAND}")
  message(FATAL_ERROR "no ${PYPROF_COMMAND}")
endif()
add_executable(main main.c)
target_link_libraries(main pyprof::pyprof)
file(GENERATE OUTPUT preload CONTENT "$<TARGET_FILE:pyprof::preload>")
find_package(pyprof 99 QUIET)
if(pyprof_FOUND)
  message(FATAL_ERROR "${pyprof_VERSION} is taken for 99")
endif()
END
    builds "$dir/found" -DCMAKE_PREFIX_PATH="$prefix" -Dpyprof_DIR="$library/cmake/pyprof" && [ "$(cat "$dir/found/build/preload")" -ef "$library/libpyprof.so" ]
}
by_fetch_content() { # as docs/embedding.md has it, with the folder instead of a repository
    consumer "$dir/fetched" "$stubs" && cat >"$dir/fetched/CMakeLists.txt" <<'END' || return
cmake_minimum_required(VERSION 3.18)
project(consumer LANGUAGES C)
include(FetchContent)
FetchContent_Declare(pyprof SOURCE_DIR "${SOURCE}" SOURCE_SUBDIR examples/cmake)
FetchContent_MakeAvailable(pyprof)
add_executable(main main.c)
target_link_libraries(main pyprof::pyprof)
if(PRELOAD)
  add_dependencies(main pyprof_preload)
  file(GENERATE OUTPUT preload CONTENT "$<TARGET_FILE:pyprof::preload>")
endif()
END
    builds "$dir/fetched" -DSOURCE="$root" ${TEST_LONG:+-DPRELOAD=ON} || return
    [ -z "${TEST_LONG:-}" ] || LD_PRELOAD=$(cat "$dir/fetched/build/preload") "$dir/fetched/build/main"
}
manual() { MANPATH=$prefix/share/man man -w pyprof | grep -F "$prefix" && MANPATH=$prefix/share/man man pyprof | grep -q 'pyprof record'; }
completes() { # the second word, as bash asks for it
    bash -c '. "$1" && set -- $(complete -p pyprof) && while [ "$1" != -F ]; do shift; done
        COMP_WORDS=(pyprof rec) COMP_CWORD=1 COMP_LINE="pyprof rec" COMP_POINT=10; "$2" pyprof rec pyprof
        [[ " ${COMPREPLY[*]} " == *" record "* ]]' bash "$prefix/share/bash-completion/completions/pyprof"
}

try "make install" installs || finish
try "DESTDIR" stages
if has pkg-config; then try "a consumer by pkg-config" by_pkg_config; else skip "a consumer by pkg-config" "no pkg-config"; fi
if has cmake; then
    try "a consumer by find_package" by_find_package
    try "a consumer by FetchContent" by_fetch_content
else skip "consumers by find_package and FetchContent" "no cmake"; fi
if has man && man --version >/dev/null 2>&1; then try "the man page is found" manual; else skip "the man page is found" "no man"; fi
try "bash completes" completes
try "make uninstall" uninstalls
finish
