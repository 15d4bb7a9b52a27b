//! IPC of the host that has keys or names of its own instead of files (svipc(7), mq_overview(7)), and whether a sandbox
//! sees it.

use std::ffi::{CStr, CString};
use std::io;
use std::str::FromStr;

use crate::attempt::Said;

/// The three kinds, each with keys of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Shared memory: shmget(2).
    Memory,
    /// Semaphores: semget(2).
    Semaphores,
    /// Queues of messages: msgget(2).
    Messages,
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "memory" => Ok(Self::Memory),
            "semaphores" => Ok(Self::Semaphores),
            "messages" => Ok(Self::Messages),
            _ => Err("not memory, semaphores or messages"),
        }
    }
}

impl Kind {
    /// The object under a key, of the smallest size; without `IPC_CREAT` among the flags it must be there.
    fn get(self, key: i32, flags: libc::c_int) -> io::Result<i32> {
        let key = key as libc::key_t;
        let (bytes, semaphores) = match flags & libc::IPC_CREAT {
            0 => (0, 0),
            _ => (4096, 1),
        };
        let id = match self {
            // SAFETY: takes numbers and touches no memory of this process.
            Self::Memory => unsafe { libc::shmget(key, bytes, flags) },
            // SAFETY: as above.
            Self::Semaphores => unsafe { libc::semget(key, semaphores, flags) },
            // SAFETY: as above.
            Self::Messages => unsafe { libc::msgget(key, flags) },
        };
        if id == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(id)
    }
}

/// An object under a key, as a program of the host might have one; removed when dropped.
#[derive(Debug)]
pub struct Object(Kind, i32);

impl Object {
    /// Makes one that everybody may read and write.
    ///
    /// # Errors
    /// When the key is taken, or there is no such thing.
    pub fn make(kind: Kind, key: i32) -> io::Result<Self> {
        let id = kind.get(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o666)?;
        Ok(Self(kind, id))
    }

    /// Leaves it where it is.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        match self.0 {
            // SAFETY: IPC_RMID reads no buffer; the segment is ours and attached nowhere.
            Kind::Memory => unsafe { libc::shmctl(self.1, libc::IPC_RMID, std::ptr::null_mut()) },
            // SAFETY: IPC_RMID reads no fourth argument.
            Kind::Semaphores => unsafe { libc::semctl(self.1, 0, libc::IPC_RMID) },
            // SAFETY: IPC_RMID reads no buffer.
            Kind::Messages => unsafe { libc::msgctl(self.1, libc::IPC_RMID, std::ptr::null_mut()) },
        };
    }
}

/// Whether the object under `key` is seen from here: it must not be.
#[must_use]
pub fn object_is_seen(kind: Kind, key: i32) -> Said {
    Said::of(
        kind.get(key, 0).map(|_| "found"),
        &[libc::ENOENT, libc::ENOSYS, libc::EPERM, libc::EACCES],
    )
}

/// A POSIX queue of messages, as a program of the host might have one; removed when dropped.
#[derive(Debug)]
pub struct Queue(CString);

impl Queue {
    /// Makes one that everybody may read, unless the umask says otherwise.
    ///
    /// # Errors
    /// When the name is taken or none, or there is no such thing.
    pub fn make(name: &str) -> io::Result<Self> {
        let name = CString::new(name)?;
        open_queue(&name, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR)?;
        Ok(Self(name))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the name is a string that ends.
        unsafe { libc::mq_unlink(self.0.as_ptr()) };
    }
}

fn open_queue(name: &CStr, flags: libc::c_int) -> io::Result<()> {
    let mode: libc::c_uint = 0o644;
    let usual = std::ptr::null::<libc::mq_attr>();
    // SAFETY: SIG_IGN is no function. A FreeBSD without mqueuefs(5) ends who calls what it lacks.
    unsafe { libc::signal(libc::SIGSYS, libc::SIG_IGN) };
    // SAFETY: the name ends; mode and attributes are read with O_CREAT only, and no attributes are the usual ones.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, mode, usual) };
    if queue as isize == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, and used nowhere else.
    unsafe { libc::mq_close(queue) };
    Ok(())
}

/// Whether the queue of that name is seen from here: it must not be.
#[must_use]
pub fn queue_is_seen(name: &str) -> Said {
    let opened = CString::new(name).map_err(io::Error::from);
    Said::of(
        opened
            .and_then(|name| open_queue(&name, libc::O_RDONLY))
            .map(|()| "opened"),
        // Not EACCES: who is refused has found it.
        &[libc::ENOENT, libc::ENOSYS],
    )
}
