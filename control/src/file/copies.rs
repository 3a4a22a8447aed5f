//! Copies of everything that was looked at while a configuration was read, so that it can be read again where none of it can be seen.
//!
//! The form in which they go from one process to another is private to this program: every length in eight bytes, every answer behind
//! its path.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Kind;

/// What was found at every path that was asked for.
#[derive(Debug, Default)]
pub struct Copies {
    files: HashMap<PathBuf, Result<Vec<u8>, Failure>>,
    lists: HashMap<PathBuf, Result<Vec<PathBuf>, Failure>>,
    kinds: HashMap<PathBuf, Kind>,
}

/// Why nothing was found.
#[derive(Debug, Clone)]
struct Failure {
    /// The number of the system's error; 0 for one of our own.
    code: i32,
    text: String,
}

/// Where what is asked for is looked up.
enum Place {
    /// The file system as this process sees it.
    System,
    /// The same, and copies are kept.
    Noted(Copies),
    Copied(Copies),
}

thread_local! {
    static PLACE: RefCell<Place> = const { RefCell::new(Place::System) };
}

/// Does something, and returns copies of everything that it looked at.
pub fn noting<T>(work: impl FnOnce() -> T) -> (T, Copies) {
    let (outcome, place) = within(Place::Noted(Copies::default()), work);
    match place {
        Place::Noted(copies) => (outcome, copies),
        Place::System | Place::Copied(_) => (outcome, Copies::default()),
    }
}

/// Does something that sees the copies, and nothing else.
pub fn from<T>(copies: Copies, work: impl FnOnce() -> T) -> T {
    within(Place::Copied(copies), work).0
}

fn within<T>(place: Place, work: impl FnOnce() -> T) -> (T, Place) {
    let before = PLACE.replace(place);
    let outcome = work();
    (outcome, PLACE.replace(before))
}

/// Looks up the content of a file; `find` is how the system is asked.
pub(super) fn bytes(path: &Path, find: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    look_up(|copies| &mut copies.files, path, find)
}

/// Looks up the content of a directory.
pub(super) fn list(path: &Path, find: impl FnOnce() -> io::Result<Vec<PathBuf>>) -> io::Result<Vec<PathBuf>> {
    look_up(|copies| &mut copies.lists, path, find)
}

fn look_up<T: Clone>(
    shelf: fn(&mut Copies) -> &mut HashMap<PathBuf, Result<T, Failure>>,
    path: &Path,
    find: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    PLACE.with_borrow_mut(|place| match place {
        Place::System => find(),
        Place::Noted(copies) => {
            let found = find();
            shelf(copies).insert(path.to_owned(), found.as_ref().map(T::clone).map_err(Failure::of));
            found
        }
        Place::Copied(copies) => match shelf(copies).get(path) {
            Some(found) => found.clone().map_err(io::Error::from),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "nobody has copied it")),
        },
    })
}

/// Looks up what a path leads to.
pub(super) fn kind(path: &Path, find: impl FnOnce() -> Kind) -> Kind {
    PLACE.with_borrow_mut(|place| match place {
        Place::System => find(),
        Place::Noted(copies) => *copies.kinds.entry(path.to_owned()).or_insert_with(find),
        Place::Copied(copies) => copies.kinds.get(path).copied().unwrap_or(Kind::Other),
    })
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        Self { code: error.raw_os_error().unwrap_or(0), text: error.to_string() }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure.code {
            0 => Self::other(failure.text),
            code => Self::from_raw_os_error(code),
        }
    }
}

impl Copies {
    /// Writes all of them.
    ///
    /// # Errors
    /// As writing.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_shelf(&self.files, out, |bytes, out| write_bytes(bytes, out))?;
        write_shelf(&self.lists, out, |paths, out| {
            write_number(paths.len(), out)?;
            paths.iter().try_for_each(|path| write_bytes(path.as_os_str().as_bytes(), out))
        })?;
        write_number(self.kinds.len(), out)?;
        self.kinds.iter().try_for_each(|(path, kind)| {
            write_bytes(path.as_os_str().as_bytes(), out)?;
            write_number(*kind as usize, out)
        })
    }

    /// Reads what [`write`](Self::write) has written.
    ///
    /// # Errors
    /// As reading.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let files = read_shelf(from, |from| read_bytes(from))?;
        let lists = read_shelf(from, |from| (0..read_number(from)?).map(|_| read_path(from)).collect())?;
        let kinds = (0..read_number(from)?).map(|_| Ok((read_path(from)?, read_kind(from)?))).collect::<io::Result<_>>()?;
        Ok(Self { files, lists, kinds })
    }
}

fn write_shelf<T, W: Write>(
    shelf: &HashMap<PathBuf, Result<T, Failure>>,
    out: &mut W,
    write: impl Fn(&T, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    write_number(shelf.len(), out)?;
    for (path, found) in shelf {
        write_bytes(path.as_os_str().as_bytes(), out)?;
        match found {
            Ok(found) => {
                write_number(0, out)?;
                write(found, out)?;
            }
            Err(failure) => {
                write_number(1, out)?;
                write_number(usize::try_from(failure.code).unwrap_or(0), out)?;
                write_bytes(failure.text.as_bytes(), out)?;
            }
        }
    }
    Ok(())
}

fn read_shelf<T, R: Read>(from: &mut R, read: impl Fn(&mut R) -> io::Result<T>) -> io::Result<HashMap<PathBuf, Result<T, Failure>>> {
    let one = |from: &mut R| {
        let path = read_path(from)?;
        let found = match read_number(from)? {
            0 => Ok(read(from)?),
            _ => {
                let code = i32::try_from(read_number(from)?).unwrap_or(0);
                Err(Failure { code, text: String::from_utf8_lossy(&read_bytes(from)?).into_owned() })
            }
        };
        Ok((path, found))
    };
    (0..read_number(from)?).map(|_| one(from)).collect()
}

fn write_number(number: usize, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&(number as u64).to_be_bytes())
}

fn write_bytes(bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    write_number(bytes.len(), out)?;
    out.write_all(bytes)
}

fn read_number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn read_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = read_number(from)?;
    let mut bytes = Vec::new();
    // What is announced is not believed before it is there.
    if from.by_ref().take(length).read_to_end(&mut bytes)? as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_kind(from: &mut impl Read) -> io::Result<Kind> {
    Ok(match read_number(from)? {
        0 => Kind::File,
        1 => Kind::Directory,
        _ => Kind::Other,
    })
}

fn read_path(from: &mut impl Read) -> io::Result<PathBuf> {
    read_bytes(from).map(|bytes| std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::super::{kind, list, read};
    use super::*;

    #[test]
    fn copies_answer_as_the_system_did_and_know_nothing_else() {
        let look = || {
            let paths = ["/etc/passwd", "/etc", "/there/is/none", "/dev/zero"].map(Path::new);
            let text = |error: io::Error| (error.kind() == io::ErrorKind::NotFound, error.to_string());
            paths.map(|path| (read(path, 1 << 16).map_err(text), list(path).map_err(text), kind(path)))
        };
        let (seen, copies) = noting(look);
        let mut sent = Vec::new();
        copies.write(&mut sent).unwrap();
        let received = Copies::read(&mut &*sent).unwrap();
        from(received, || {
            assert_eq!(look(), seen);
            assert_eq!(read(Path::new("/etc/group"), 1 << 16).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(kind(Path::new("/etc/group")), Kind::Other);
        });
        assert!(read(Path::new("/etc/group"), 1 << 16).is_ok());
        for end in [0, 7, sent.len() / 2, sent.len() - 1] {
            assert!(Copies::read(&mut &sent[..end]).is_err());
        }
    }
}
