//! A socket in a folder, whatever the length of the folder's path.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const NAME: &str = "control.sock";
/// Paths of sockets have at most about so many bytes.
const MAX_PATH: usize = 100;

/// A socket of this process.
pub struct Socket {
    pub listener: UnixListener,
    path: PathBuf,
    /// What tells this socket from one that has taken its place.
    inode: u64,
}

impl Socket {
    /// Makes the folder's socket; one that is there is replaced. Only the owner can connect.
    pub fn bind(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // Under a name of its own first: nobody can connect before it is the owner's alone.
        let temporary = temporary(std::process::id());
        remove_left(folder)?;
        let listener = at(folder, &temporary, |path| UnixListener::bind(path))?;
        let (from, path) = (folder.join(temporary), folder.join(NAME));
        let made = fs::set_permissions(&from, Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&from, &path));
        if let Err(error) = made {
            let _ = fs::remove_file(&from);
            return Err(error);
        }
        listener.set_nonblocking(true)?;
        let inode = fs::metadata(&path)?.ino();
        Ok(Self {
            listener,
            path,
            inode,
        })
    }
}

fn temporary(process: u32) -> String {
    format!(".control-{process}.sock")
}

/// Removes the sockets of processes that were killed before they had their name, and our own.
fn remove_left(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number = name
            .strip_prefix(".control-")
            .and_then(|n| n.strip_suffix(".sock"));
        let Some(process) = number.and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let is_alive = Path::new(&format!("/proc/{process}")).exists();
        if process == std::process::id() || !is_alive {
            let _ = fs::remove_file(folder.join(temporary(process)));
        }
    }
    Ok(())
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the folder's socket.
pub fn connect(folder: &Path) -> io::Result<UnixStream> {
    at(folder, NAME, |path| UnixStream::connect(path))
}

/// Does something with the path of a socket: where it is too long, with one through the opened
/// folder.
fn at<T>(folder: &Path, name: &str, act: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(name);
    if path.as_os_str().len() <= MAX_PATH {
        return act(&path);
    }
    let opened = File::open(folder)?;
    let short = format!("/proc/self/fd/{}/{name}", opened.as_raw_fd());
    act(Path::new(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_owners_replaces_another_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(120));
        for folder in [folder.path().join("job"), deep] {
            assert!(connect(&folder).is_err());
            // No process has this number.
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(temporary(u32::MAX)), "").unwrap();
            let first = Socket::bind(&folder).unwrap();
            let second = Socket::bind(&folder).unwrap();
            let mode = fs::metadata(folder.join(NAME)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
            drop(first);
            connect(&folder).unwrap();
            drop(second);
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        }
    }
}
