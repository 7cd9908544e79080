//! A Rust program with Python inside: runs the code that it is given on a thread of its own, and leaves with status 3.
use std::ffi::CString;
use std::os::raw::{c_char, c_int, c_void};

extern "C" {
    fn Py_Initialize();
    fn Py_FinalizeEx() -> c_int;
    fn PyRun_SimpleString(code: *const c_char) -> c_int;
    fn PyEval_SaveThread() -> *mut c_void;
    fn PyEval_RestoreThread(state: *mut c_void);
    fn PyGILState_Ensure() -> c_int;
    fn PyGILState_Release(state: c_int);
}

fn main() {
    let code = CString::new(std::env::args().nth(1).expect("code")).expect("no NUL");
    unsafe { Py_Initialize() };
    let state = unsafe { PyEval_SaveThread() };
    let worker = std::thread::spawn(move || unsafe {
        let gil = PyGILState_Ensure();
        let result = PyRun_SimpleString(code.as_ptr());
        PyGILState_Release(gil);
        result
    });
    println!("ran: {:?}", worker.join().ok());
    unsafe { PyEval_RestoreThread(state) };
    println!("finalized: {}", unsafe { Py_FinalizeEx() });
    std::process::exit(3);
}
