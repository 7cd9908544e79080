// A Go program with Python inside:
//
//	host finalize CODE    runs CODE, finalizes Python and leaves with status 3
//	host exit CODE        runs CODE on two threads and leaves without that: os.Exit is a bare system call
package main

// extern void Py_Initialize(void);
// extern int Py_FinalizeEx(void);
// extern int PyRun_SimpleString(const char *code);
// extern void *PyEval_SaveThread(void);
// extern int PyGILState_Ensure(void);
// extern void PyGILState_Release(int state);
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"sync"
)

func threads(code string) {
	var group sync.WaitGroup
	C.PyEval_SaveThread()
	for i := 0; i < 2; i++ {
		group.Add(1)
		go func() {
			runtime.LockOSThread()
			state := C.PyGILState_Ensure()
			C.PyRun_SimpleString(C.CString(code))
			C.PyGILState_Release(state)
			group.Done()
		}()
	}
	group.Wait()
}

func main() {
	runtime.LockOSThread()
	C.Py_Initialize()
	if os.Args[1] == "finalize" {
		C.PyRun_SimpleString(C.CString(os.Args[2]))
		fmt.Println("finalized:", C.Py_FinalizeEx())
	} else {
		threads(os.Args[2])
		fmt.Println("not finalized")
	}
	os.Exit(3)
}
