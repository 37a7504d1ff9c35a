// SPDX-License-Identifier: MIT
//! A class as PyO3 makes it: a heap type that allocates with tp_alloc, whose own tp_dealloc drops the Rust value and ends
//! with tp_free. Without a crate, so that the few declarations of the C API stand here.

use std::os::raw::{c_char, c_int, c_uint, c_void};

type Object = *mut c_void;

#[repr(C)]
struct Slot {
    slot: c_int,
    function: *const c_void,
}

#[repr(C)]
struct Spec {
    name: *const c_char,
    basic_size: c_int,
    item_size: c_int,
    flags: c_uint,
    slots: *const Slot,
}

extern "C" {
    fn PyType_FromModuleAndSpec(module: Object, spec: *const Spec, bases: Object) -> Object;
    fn PyModule_AddType(module: Object, class: Object) -> c_int;
    fn PyType_GetSlot(class: Object, slot: c_int) -> *const c_void;
    fn PyObject_Type(object: Object) -> Object;
    fn PyTuple_Size(tuple: Object) -> isize;
    fn PyTuple_GetItem(tuple: Object, index: isize) -> Object;
    fn Py_IncRef(object: Object);
    fn Py_DecRef(object: Object);
    /// In polygons.c: what the Rust side calls of Freelane.
    fn polygons_adopt(class: Object) -> c_int;
}

const TP_ALLOC: c_int = 47;
const TP_DEALLOC: c_int = 52;
const TP_NEW: c_int = 65;
const TP_FREE: c_int = 74;
const DEFAULT: c_uint = 1 << 18;

/// Bytes of an object's header.
const HEADER: usize = if cfg!(Py_GIL_DISABLED) { 32 } else { 16 };

/// The contents of an object: numbers of its own, and a reference to any object.
struct Polygon {
    corners: Vec<f64>,
    next: Object,
}

impl Drop for Polygon {
    fn drop(&mut self) {
        assert_eq!(self.corners.len(), 4);
        unsafe { Py_DecRef(self.next) }
    }
}

unsafe fn contents(object: Object) -> *mut Polygon {
    object.cast::<u8>().add(HEADER).cast()
}

unsafe extern "C" fn new(class: Object, args: Object, _kwargs: Object) -> Object {
    let alloc: extern "C" fn(Object, isize) -> Object = std::mem::transmute(PyType_GetSlot(class, TP_ALLOC));
    let object = alloc(class, 0);
    if object.is_null() {
        return object;
    }
    let next = if PyTuple_Size(args) > 0 { PyTuple_GetItem(args, 0) } else { std::ptr::null_mut() };
    Py_IncRef(next);
    contents(object).write(Polygon { corners: vec![0.0; 4], next });
    object
}

unsafe extern "C" fn dealloc(object: Object) {
    let class = PyObject_Type(object); // a reference besides the object's
    let free: extern "C" fn(Object) = std::mem::transmute(PyType_GetSlot(class, TP_FREE));
    std::ptr::drop_in_place(contents(object));
    free(object);
    Py_DecRef(class);
    Py_DecRef(class);
}

/// Adds the class to the module. Returns 0, or -1 with an exception.
#[no_mangle]
pub unsafe extern "C" fn polygons_execute(module: Object) -> c_int {
    let slots = [
        Slot { slot: TP_NEW, function: new as *const c_void },
        Slot { slot: TP_DEALLOC, function: dealloc as *const c_void },
        Slot { slot: 0, function: std::ptr::null() },
    ];
    let spec = Spec {
        name: b"polygons.Polygon\0".as_ptr().cast(),
        basic_size: (HEADER + std::mem::size_of::<Polygon>()) as c_int,
        item_size: 0,
        flags: DEFAULT,
        slots: slots.as_ptr(),
    };
    let class = PyType_FromModuleAndSpec(module, &spec, std::ptr::null_mut());
    if class.is_null() {
        return -1;
    }
    let failed = polygons_adopt(class) < 0 || PyModule_AddType(module, class) < 0;
    Py_DecRef(class);
    if failed { -1 } else { 0 }
}
