"""Print what a C compiler needs to build programs that embed this Python, and modules for it, on one line:

    -isystem/usr/include/python3.12 -L/usr/lib -lpython3.12 -lm .cpython-312-x86_64-linux-gnu.so

The include folder is left out where Python.h is not installed, the libraries where there is no libpython to link
with. The last word is the suffix of module files.
"""
import os
import sys
import sysconfig

var = sysconfig.get_config_var
words = []

include = sysconfig.get_path("include")
if os.path.exists(os.path.join(include, "Python.h")):
    words.append("-isystem" + include)

name = "python" + var("LDVERSION")
for folder in var("LIBDIR"), os.path.join(sys.base_prefix, "lib"), var("LIBPL"):
    library = os.path.join(folder, "lib" + name)
    shared = os.path.exists(library + ".so")
    if shared or os.path.exists(library + ".a"):
        words += ["-L" + folder, "-l" + name] + var("LIBS").split() + var("SYSLIBS").split()
        if not shared:
            words.append("-rdynamic")   # modules find the interpreter in the program
        elif not folder.startswith("/usr/lib"):
            words.append("-Wl,-rpath," + folder)
        break

print(*words, var("EXT_SUFFIX"))
