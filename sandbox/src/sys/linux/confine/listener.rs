//! The host's side of a confined worker: hears of the system calls that its filter names, answers
//! them, and keeps what was refused.
//!
//! # Threads
//! A thread for each worker, which ends with it: one whose call takes long, as on a network's file
//! system, or that waits for its turn to write, holds up no other. Not realtime; no call of an audio thread that behaves comes here.
//!
//! # What is trusted
//! Nothing that lies in the worker's memory: it may change between the look and the call. So a call
//! is let go on only where its numbers alone make it harmless, or where Landlock decides. All else
//! the host does by itself, with what it has read once: it connects the worker's socket, and opens
//! what was granted since the worker began.
//!
//! Nothing waits for ever: when the host ends or this thread does, the kernel answers ENOSYS.
//!
//! # Safety
//! The `unsafe` calls pass the kernel pointers to locals of the sizes that it names, and read the
//! worker's memory into a local buffer.

use super::files::{Act, Does, PathCall, Wish, grant_for, paths_of, quoted, shown};
use super::{filter, places, shared, writes};
use crate::confine::{Reached, Refusal};
use crate::sys::handles::Handle;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::net::AddressFamily;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_domain, socket_timeout};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Refusals that are told of one worker.
const MOST_TOLD: usize = 128;
/// How the making of a file is told of.
const MAKES: &str = " to make it";
/// Connections that are being made at once, of one worker.
const MOST_CONNECTING: usize = 16;
/// How long a local socket may take to accept.
const ACCEPTING: Duration = Duration::from_secs(2);

/// See the module. When it is dropped, its thread stays as long as the worker.
pub struct Listener(Arc<Shared>);

struct Shared {
    name: String,
    keep: Box<dyn Fn(&Refusal) + Send + Sync>,
    process: u32,
    pidfd: OwnedFd,
    listener: OwnedFd,
    reached: Reached,
    memory: Option<Arc<shared::Named>>,
    /// Files and folders that may be read since, too.
    granted: Mutex<Vec<PathBuf>>,
    told: Mutex<Told>,
    connecting: Mutex<usize>,
}

#[derive(Default)]
struct Told {
    all: Vec<Refusal>,
    /// Of them, those that were [taken](Listener::take).
    taken: usize,
    is_full: bool,
}

/// What becomes of a call.
enum Outcome {
    /// The kernel goes on with it.
    GoOn,
    /// It fails.
    Fails(i32),
    /// It has been done: 0.
    Done,
    /// It gets this descriptor.
    Opened(OwnedFd),
    /// Somebody else answers.
    Later,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    /// Begins to answer. `name` is for the log: whose worker it is. `keep` is told what is
    /// refused, on the listener's thread.
    pub fn start(
        listener: Handle,
        process: u32,
        reached: Reached,
        name: &str,
        keep: impl Fn(&Refusal) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let pid = Pid::from_raw(process as i32).ok_or(io::ErrorKind::NotFound)?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            keep: Box::new(keep),
            process,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            listener: listener.0,
            memory: reached.memory.as_deref().map(shared::Named::of),
            reached: real(reached, process),
            granted: Mutex::default(),
            told: Mutex::default(),
            connecting: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("worker listener".into())
            .stack_size(128 * 1024)
            .spawn(move || own.run())?;
        Ok(Self(shared))
    }

    /// Lets the worker read a file or folder from now on.
    pub fn grant(&self, path: &Path) {
        if let Ok(path) = path.canonicalize() {
            let mut granted = lock(&self.0.granted);
            if !granted.contains(&path) {
                granted.push(path);
            }
        }
    }

    /// Lets the worker read what belongs to another plugin from now on.
    pub fn grant_plugin(&self, plugin: &Path) {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        for place in places::own_places(plugin, home.as_deref()) {
            self.grant(&place);
        }
    }

    /// What has been refused since the last call.
    pub fn take(&self) -> Vec<Refusal> {
        let told = &mut *lock(&self.0.told);
        let taken = std::mem::replace(&mut told.taken, told.all.len());
        told.all[taken..].to_vec()
    }

    /// All that has been refused, each once, up to a limit.
    pub fn refused(&self) -> Vec<Refusal> {
        lock(&self.0.told).all.clone()
    }

    /// Whether the worker may read what lies there.
    pub fn reaches(&self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else { return true };
        let Reached { read, write, .. } = &self.0.reached;
        read.iter().chain(write).any(|place| path.starts_with(place)) || self.0.is_granted(&path)
    }
}

/// The places as they really lie; those that are not there are left out.
fn real(reached: Reached, process: u32) -> Reached {
    let own = PathBuf::from(format!("/proc/{process}"));
    let all = |places: Vec<PathBuf>| {
        places
            .into_iter()
            .filter_map(|place| match place.to_str() {
                Some("/proc/self" | "/proc/thread-self") => Some(own.clone()),
                _ => place.canonicalize().ok(),
            })
            .collect()
    };
    Reached {
        read: all(reached.read),
        write: all(reached.write),
        devices: all(reached.devices),
        sockets: all(reached.sockets),
        memory: reached.memory,
    }
}

impl Shared {
    fn run(self: Arc<Self>) {
        // SYNC_WAKE_UP: the caller waits anyhow. Since 6.6.
        let _ = kernel::set_flags(&self.listener, 1);
        loop {
            let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
            let _ = poll(&mut fds, None);
            let ready = fds[0].revents();
            if ready.contains(PollFlags::IN) {
                // An error: whoever called has ended meanwhile.
                if let Ok(call) = kernel::receive(&self.listener) {
                    let outcome = self.see_to(&call);
                    self.answer(call.id, outcome);
                }
            } else if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return;
            }
        }
    }

    fn answer(&self, id: u64, outcome: Outcome) {
        let (error, flags) = match outcome {
            Outcome::GoOn => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Outcome::Fails(error) => (-error, 0),
            Outcome::Done => (0, 0),
            Outcome::Opened(file) => match kernel::give(&self.listener, id, &file) {
                Ok(()) => return,
                Err(error) => (-error.raw_os_error().unwrap_or(libc::EMFILE), 0),
            },
            Outcome::Later => return,
        };
        // An error: whoever called has ended meanwhile.
        let _ = kernel::respond(&self.listener, id, error, flags);
    }

    fn see_to(self: &Arc<Self>, call: &libc::seccomp_notif) -> Outcome {
        let number = i64::from(call.data.nr);
        let arguments = &call.data.args;
        if number == libc::SYS_connect {
            return self.connect(call);
        }
        if filter::is_write(number) {
            writes::wait(arguments[2]);
            return Outcome::GoOn;
        }
        let paths = paths_of(number);
        if !paths.is_empty() {
            return self.look(call, &paths);
        }
        // Numbers in registers: they do not change any more.
        let thread = match number {
            libc::SYS_sched_setaffinity => Some(arguments[0]),
            libc::SYS_sched_setscheduler if !is_realtime(arguments[1] as i32) => Some(arguments[0]),
            libc::SYS_setpriority if arguments[0] as u32 == libc::PRIO_PROCESS => {
                Some(arguments[1])
            }
            libc::SYS_ioprio_set if arguments[0] as i32 == 1 => Some(arguments[1]),
            _ => None,
        };
        if thread.is_some_and(|thread| self.is_own(thread as i32)) {
            return Outcome::GoOn;
        }
        let what = match number {
            libc::SYS_clone | libc::SYS_sched_setparam | libc::SYS_sched_setscheduler => {
                let why = if number == libc::SYS_clone { "a process" } else { "realtime priority" };
                format!("{}: {why}", filter::name(number))
            }
            number => filter::name(number),
        };
        self.tell(what, filter::grant(number, arguments).into());
        Outcome::Fails(libc::EPERM)
    }

    /// Whether it is a thread of this worker.
    fn is_own(&self, thread: i32) -> bool {
        let task = format!("/proc/{}/task/{thread}", self.process);
        thread > 0 && Path::new(&task).exists()
    }

    /// Keeps what was refused, once each.
    fn tell(&self, what: String, grant: String) {
        let mut told = lock(&self.told);
        // Names of new files differ each time; what would allow them does not.
        let makes = what.ends_with(MAKES);
        let is_known = |refusal: &Refusal| {
            refusal.what == what || makes && refusal.grant == grant && refusal.what.ends_with(MAKES)
        };
        if told.is_full || told.all.iter().any(is_known) {
            return;
        }
        if told.all.len() == MOST_TOLD {
            told.is_full = true;
            tracing::warn!("{}: refused: more, which is not told", self.name);
            return;
        }
        let refusal = Refusal { what, grant };
        tracing::warn!("{}: refused: {refusal}", self.name);
        (self.keep)(&refusal);
        told.all.push(refusal);
    }

    fn look(&self, call: &libc::seccomp_notif, paths: &[PathCall]) -> Outcome {
        let number = i64::from(call.data.nr);
        let (mut describes, mut is_told) = (false, false);
        for part in paths {
            describes |= part.does == Does::Describe;
            let Some((path, flags)) = self.path_of(call, part) else { continue };
            if let Some(outcome) = self.share(call, part, &path, flags) {
                return outcome;
            }
            let Some(wish) = Wish::of(&path, part.does, flags) else { continue };
            let Some(act) = wish.refused(&self.reached) else { continue };
            if wish.only_reads() && self.is_granted(&wish.path) {
                return match open_there(&wish.path, flags) {
                    Ok(file) => Outcome::Opened(file),
                    Err(error) => Outcome::Fails(error.raw_os_error()),
                };
            }
            if !permitted_by_owner(&wish.path, act) {
                continue;
            }
            let name = filter::name(number);
            let how = match act {
                Act::Read => " to read",
                Act::Change => " to write",
                Act::Place if name.starts_with("open") || name == "creat" => MAKES,
                Act::Place | Act::Describe => "",
            };
            let what = format!("{name} {}{how}", shown(&wish.path));
            self.tell(what, grant_for(&wish.path, act));
            is_told = true;
        }
        if !describes {
            return Outcome::GoOn;
        }
        if !is_told {
            self.tell(filter::name(number), filter::grant(number, &call.data.args).into());
        }
        Outcome::Fails(libc::EPERM)
    }

    /// Sees to memory by name; `None`: it is not about that, or the user allows more.
    fn share(
        &self,
        call: &libc::seccomp_notif,
        part: &PathCall,
        path: &Path,
        flags: i32,
    ) -> Option<Outcome> {
        let (name, memory) = (shared::name_of(path)?, self.memory.as_ref()?);
        let Reached { read, write, .. } = &self.reached;
        if read.iter().chain(write).any(|place| path.starts_with(place)) {
            return None;
        }
        let outcome = match part.does {
            Does::Open(_) | Does::Create => memory.open(name, flags).map(Outcome::Opened),
            Does::Remove if paths_of(call.data.nr.into()).len() == 1 => {
                memory.remove(name).map(|()| Outcome::Done)
            }
            _ => return None,
        };
        Some(outcome.unwrap_or_else(|error| Outcome::Fails(error.raw_os_error())))
    }

    fn is_granted(&self, path: &Path) -> bool {
        lock(&self.granted).iter().any(|place| path.starts_with(place))
    }

    /// The path that a call names, from the root, and the flags of an opening.
    fn path_of(&self, call: &libc::seccomp_notif, part: &PathCall) -> Option<(PathBuf, i32)> {
        let arguments = &call.data.args;
        let flags = match part.does {
            Does::Open(argument) => arguments[argument] as i32,
            Does::OpenHow(argument) => {
                let how = self.read(call, arguments[argument], 8)?;
                u64::from_ne_bytes(how.try_into().ok()?) as i32
            }
            Does::Create => libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
            _ => 0,
        };
        let bytes = self.read(call, arguments[part.path], libc::PATH_MAX as usize)?;
        let named = CStr::from_bytes_until_nul(&bytes).ok()?.to_bytes();
        let folder = part.folder.map_or(libc::AT_FDCWD, |argument| arguments[argument] as i32);
        Some((self.absolute(call.pid, folder, Path::new(OsStr::from_bytes(named)))?, flags))
    }

    /// A path as this process would name it.
    fn absolute(&self, thread: u32, folder: i32, path: &Path) -> Option<PathBuf> {
        for own in ["/proc/self", "/proc/thread-self"] {
            if let Ok(rest) = path.strip_prefix(own) {
                return Some(PathBuf::from(format!("/proc/{}", self.process)).join(rest));
            }
        }
        if path.is_absolute() {
            return Some(path.to_owned());
        }
        if path.as_os_str().is_empty() {
            return None;
        }
        let from = match folder {
            libc::AT_FDCWD => format!("/proc/{thread}/cwd"),
            number => format!("/proc/{thread}/fd/{number}"),
        };
        let from = std::fs::read_link(from).ok().filter(|from| from.is_absolute())?;
        Some(from.join(path))
    }

    /// Memory of whoever called, up to `len` bytes of it.
    fn read(&self, call: &libc::seccomp_notif, address: u64, len: usize) -> Option<Vec<u8>> {
        let bytes = kernel::read_memory(call.pid, address, len)?;
        // It may be another process by now that goes by this number.
        kernel::is_valid(&self.listener, call.id).then_some(bytes)
    }

    /// Connects a worker's socket, where that is allowed.
    fn connect(self: &Arc<Self>, call: &libc::seccomp_notif) -> Outcome {
        let [number, address, len, ..] = call.data.args;
        let len = len as u32 as usize;
        if !(2..=size_of::<libc::sockaddr_storage>()).contains(&len) {
            return Outcome::Fails(libc::EINVAL);
        }
        let Some(address) = self.read(call, address, len).filter(|bytes| bytes.len() == len) else {
            return Outcome::Fails(libc::EFAULT);
        };
        let socket = match pidfd_getfd(&self.pidfd, number as i32, PidfdGetfdFlags::empty()) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::BADF) => return Outcome::Fails(libc::EBADF),
            Err(error) => {
                let why = format!("connect: the system does not let the host do it: {error}");
                self.tell(why, "--confinement off".into());
                return Outcome::Fails(libc::EACCES);
            }
        };
        match socket_domain(&socket) {
            Ok(AddressFamily::UNIX) => self.connect_local(call, &socket, &address),
            // The network: granted, or there would be no such socket.
            Ok(_) => self.connect_elsewhere(call.id, socket, address),
            Err(error) => Outcome::Fails(error.raw_os_error()),
        }
    }

    fn connect_local(
        &self,
        call: &libc::seccomp_notif,
        socket: &OwnedFd,
        address: &[u8],
    ) -> Outcome {
        if address[..2] != (libc::AF_UNIX as u16).to_ne_bytes() {
            return Outcome::Fails(libc::EINVAL);
        }
        let address = match address[2..].split_first() {
            None => return Outcome::Fails(libc::EINVAL),
            // Without a place in the file system. Of those an editor needs the display.
            Some((0, name)) => {
                if !name.starts_with(b"/tmp/.X11-unix/X") {
                    let name = shown(Path::new(OsStr::from_bytes(name)));
                    self.tell(format!("connect to @{name}"), "--confinement off".into());
                    return Outcome::Fails(libc::EACCES);
                }
                address.to_vec()
            }
            Some(_) => {
                let named = address[2..].split(|byte| *byte == 0).next().unwrap_or_default();
                let named = Path::new(OsStr::from_bytes(named));
                let Some(path) = self.absolute(call.pid, libc::AT_FDCWD, named) else {
                    return Outcome::Fails(libc::ENOENT);
                };
                let path = match path.canonicalize() {
                    Ok(path) => path,
                    Err(error) => {
                        return Outcome::Fails(error.raw_os_error().unwrap_or(libc::ENOENT));
                    }
                };
                let places = self.reached.sockets.iter().chain(&self.reached.write);
                if !places.into_iter().any(|place| path.starts_with(place)) {
                    let grant = format!("--grant-files {}:rw", quoted(&path));
                    self.tell(format!("connect to {}", shown(&path)), grant);
                    return Outcome::Fails(libc::EACCES);
                }
                let place = match open_there(&path, libc::O_PATH) {
                    Ok(place) => place,
                    Err(error) => return Outcome::Fails(error.raw_os_error()),
                };
                return self.connect_now(socket, &local_address(&place));
            }
        };
        self.connect_now(socket, &address)
    }

    fn connect_now(&self, socket: &OwnedFd, address: &[u8]) -> Outcome {
        let usual = socket_timeout(socket, Timeout::Send).ok().flatten();
        let _ = set_socket_timeout(socket, Timeout::Send, Some(ACCEPTING));
        let outcome = kernel::connect(socket, address);
        let _ = set_socket_timeout(socket, Timeout::Send, usual);
        match outcome {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Fails(error.raw_os_error().unwrap_or(libc::EACCES)),
        }
    }

    /// Connects over the network, which may take minutes.
    fn connect_elsewhere(self: &Arc<Self>, id: u64, socket: OwnedFd, address: Vec<u8>) -> Outcome {
        {
            let mut connecting = lock(&self.connecting);
            if *connecting == MOST_CONNECTING {
                return Outcome::Fails(libc::EAGAIN);
            }
            *connecting += 1;
        }
        let own = Arc::clone(self);
        let connect = move || {
            let outcome = match kernel::connect(&socket, &address) {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Fails(error.raw_os_error().unwrap_or(libc::EACCES)),
            };
            drop(socket);
            own.answer(id, outcome);
            *lock(&own.connecting) -= 1;
        };
        let thread = std::thread::Builder::new().name("worker connects".into());
        match thread.stack_size(64 * 1024).spawn(connect) {
            Ok(_) => Outcome::Later,
            Err(_) => {
                *lock(&self.connecting) -= 1;
                Outcome::Fails(libc::EAGAIN)
            }
        }
    }
}

fn is_realtime(class: i32) -> bool {
    let class = class & !libc::SCHED_RESET_ON_FORK;
    [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].contains(&class)
}

/// Opens what lies at a path, and only there: no link in it is followed.
fn open_there(path: &Path, flags: i32) -> rustix::io::Result<OwnedFd> {
    let asked = OFlags::from_bits_truncate(flags as u32);
    let kept = OFlags::DIRECTORY | OFlags::PATH | OFlags::NONBLOCK | OFlags::NOATIME;
    rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        (asked & kept) | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// The address of a socket that is open as a place: nobody can put another one there.
fn local_address(place: &OwnedFd) -> Vec<u8> {
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend(format!("/proc/self/fd/{}\0", place.as_raw_fd()).as_bytes());
    address
}

/// Whether the user could do it: else it is not the confinement that refuses it.
fn permitted_by_owner(path: &Path, act: Act) -> bool {
    use rustix::fs::Access;
    let (path, access) = match act {
        Act::Read => (path, Access::READ_OK),
        Act::Change => (path, Access::WRITE_OK),
        Act::Place => (path.parent().unwrap_or(path), Access::WRITE_OK),
        Act::Describe => return true,
    };
    rustix::fs::accessat(rustix::fs::CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// What the kernel offers, in its own terms.
mod kernel {
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd, OwnedFd};

    const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
    const RESPOND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
    const IS_VALID: libc::Ioctl = 0x4008_2102;
    const GIVE: libc::Ioctl = 0x4018_2103;
    const SET_FLAGS: libc::Ioctl = 0x4008_2104;

    fn ioctl<T>(listener: &OwnedFd, request: libc::Ioctl, with: *mut T) -> io::Result<()> {
        // SAFETY: each caller passes a pointer to a local of the size that the request names.
        match unsafe { libc::ioctl(listener.as_raw_fd(), request, with) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    pub(super) fn receive(listener: &OwnedFd) -> io::Result<libc::seccomp_notif> {
        // The kernel wants zeros.
        let mut call = MaybeUninit::<libc::seccomp_notif>::zeroed();
        ioctl(listener, RECEIVE, call.as_mut_ptr())?;
        // SAFETY: plain numbers, of which zeros are valid too.
        Ok(unsafe { call.assume_init() })
    }

    pub(super) fn respond(listener: &OwnedFd, id: u64, error: i32, flags: u32) -> io::Result<()> {
        let mut answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
        ioctl(listener, RESPOND, &raw mut answer)
    }

    pub(super) fn is_valid(listener: &OwnedFd, mut id: u64) -> bool {
        ioctl(listener, IS_VALID, &raw mut id).is_ok()
    }

    pub(super) fn set_flags(listener: &OwnedFd, flags: u64) -> io::Result<()> {
        // The number itself is passed, not its address.
        ioctl(listener, SET_FLAGS, flags as usize as *mut u64)
    }

    /// Answers with a copy of a descriptor.
    pub(super) fn give(listener: &OwnedFd, id: u64, file: &OwnedFd) -> io::Result<()> {
        let mut given = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: file.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC as u32,
        };
        ioctl(listener, GIVE, &raw mut given)
    }

    /// Up to `len` bytes; fewer where the memory ends.
    pub(super) fn read_memory(thread: u32, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0u8; len];
        // In two parts: none is read of a part that does not lie in memory as a whole.
        let page = rustix::param::page_size();
        let first = (page - address as usize % page).min(len);
        let into = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
        let at = |offset: usize, len| libc::iovec {
            iov_base: (address as usize).wrapping_add(offset) as *mut libc::c_void,
            iov_len: len,
        };
        let from = [at(0, first), at(first, len - first)];
        // SAFETY: written to is `bytes` only, of `len` bytes; the kernel checks the other side.
        let got = unsafe {
            libc::process_vm_readv(thread as i32, &raw const into, 1, from.as_ptr(), 2, 0)
        };
        bytes.truncate(usize::try_from(got).ok()?);
        Some(bytes)
    }

    pub(super) fn connect(socket: &OwnedFd, address: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel copies the address, whose size is passed with it.
        let result = unsafe {
            libc::connect(
                socket.as_raw_fd(),
                address.as_ptr().cast(),
                address.len() as libc::socklen_t,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
