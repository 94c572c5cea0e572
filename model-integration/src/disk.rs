//! Disk space, where the system tells it.

use std::path::Path;

/// Bytes that can be written beside `path`, in its folder or the nearest one that exists.
pub fn available_disk(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let folder = absolute
        .ancestors()
        .skip(1)
        .find(|folder| folder.is_dir())?;
    free(folder)
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn free(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut told = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the name ends with a zero, and the place to write has the type that is written.
    let failed = unsafe { libc::statvfs(name.as_ptr(), told.as_mut_ptr()) };
    if failed != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it wrote; before, all bytes were zero.
    let told = unsafe { told.assume_init() };
    Some(told.f_bavail * told.f_frsize)
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn free(_: &Path) -> Option<u64> {
    None
}
