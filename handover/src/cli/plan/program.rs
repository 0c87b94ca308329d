//! Whether a program can describe itself: told from its file, for to find out by starting it would start the ones that cannot.
//!
//! What is searched for stands in this command disguised, so that this command is not taken for a program that describes itself.

use crate::node::describe::{DECLARES_MARK, MARK};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where programs are looked for if `$PATH` is not set, as exec(3) does.
const PATH: &str = "/bin:/usr/bin";
/// First bytes of an executable file.
const ELF: &[u8] = b"\x7fELF";
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// Most digits of a manifest's version.
const DIGITS: usize = 9;
const DISGUISE: u8 = 0xa5;
const LENGTH: usize = MARK.len();
const DISGUISED: [[u8; LENGTH]; 2] = [disguise(MARK), disguise(DECLARES_MARK)];

const fn disguise(mut mark: [u8; LENGTH]) -> [u8; LENGTH] {
    let mut i = 0;
    while i < LENGTH {
        mark[i] ^= DISGUISE;
        i += 1;
    }
    mark
}

/// What a program's file tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ability {
    /// It describes itself, in this version of the manifest.
    Describes {
        version: u32,
        /// Whether it declares tables, perhaps.
        tables: bool,
    },
    /// It is an executable file without the mark.
    Silent,
    /// It is no executable file: a script.
    Script,
}

/// The file that starting `program` would run.
pub(super) fn find(program: &OsStr) -> io::Result<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Ok(program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    let found = places.find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok());
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// What the file tells.
pub(super) fn ability(program: &Path) -> io::Result<Ability> {
    if !program.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    look(File::open(program)?)
}

fn look(mut file: impl Read) -> io::Result<Ability> {
    // What may be the beginning of a mark is looked at again, with what follows.
    let keep = LENGTH + DIGITS + 1;
    let mut bytes = Vec::with_capacity(CHUNK + keep);
    let (mut begun, mut versions) = (false, [None; 2]);
    loop {
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut bytes)?;
        if !std::mem::replace(&mut begun, true) && !bytes.starts_with(ELF) {
            return Ok(Ability::Script);
        }
        note(&bytes, &mut versions);
        if let [Some(version), declares] = versions
            && (declares.is_some() || read < CHUNK)
        {
            let tables = declares.is_some();
            return Ok(Ability::Describes { version, tables });
        }
        if read < CHUNK {
            return Ok(Ability::Silent);
        }
        bytes.drain(..bytes.len().saturating_sub(keep));
    }
}

/// Notes the version of each mark that is found first.
fn note(bytes: &[u8], versions: &mut [Option<u32>; 2]) {
    let first = DISGUISED[0][0] ^ DISGUISE;
    let places = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
    for (at, _) in places {
        let Some(mark) = bytes.get(at..at + LENGTH) else { return };
        let is = |disguised: &[u8; LENGTH]| mark.iter().zip(disguised).all(|(byte, d)| byte ^ DISGUISE == *d);
        if let Some(which) = DISGUISED.iter().position(is) {
            versions[which] = versions[which].or_else(|| version(&bytes[at + LENGTH..]));
        }
    }
}

/// The number before the next semicolon.
fn version(bytes: &[u8]) -> Option<u32> {
    let digits = bytes
        .iter()
        .take(DIGITS)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let version = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    (bytes.get(digits) == Some(&b';')).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(before: usize, mark: &[u8], after: usize) -> Vec<u8> {
        let mut bytes = ELF.to_vec();
        bytes.resize(ELF.len() + before, b'h');
        bytes.extend_from_slice(mark);
        bytes.resize(bytes.len() + after, 0);
        bytes
    }

    #[test]
    fn the_mark_is_found_wherever_it_is_and_told_with_its_version() {
        let mark = |version: &str| [&MARK, version.as_bytes()].concat();
        let describes = |version, tables| Ability::Describes { version, tables };
        for before in [0, 1, 100].into_iter().chain(CHUNK - 60..CHUNK + 10) {
            for after in [0, CHUNK] {
                let found = look(&*file(before, &mark("1;"), after)).expect("read");
                assert_eq!(found, describes(1, false), "{before} {after}");
            }
        }
        let look = |mark: &[u8]| look(&*file(10, mark, 10)).expect("read");
        assert_eq!(look(&mark("12345;")), describes(12345, false));
        for wrong in ["", ";", "1", "1234567890;", "x;"] {
            assert_eq!(look(&mark(wrong)), Ability::Silent, "{wrong}");
        }
        // What only begins like one does not hide the one behind it.
        assert_eq!(look(&[mark("x"), mark("2;")].concat()), describes(2, false));
        // Tables alone are nothing; in either order both are seen.
        let declares = [&DECLARES_MARK, b"1;".as_slice()].concat();
        assert_eq!(look(&declares), Ability::Silent);
        for both in [[mark("1;"), declares.clone()], [declares, mark("1;")]] {
            assert_eq!(look(&both.concat()), describes(1, true));
        }
        assert_eq!(look(&MARK[1..]), Ability::Silent);
    }

    #[test]
    fn what_is_no_executable_file_is_a_script() {
        let script = [b"#!/bin/sh\n# ".as_slice(), &MARK, b"1;"].concat();
        assert_eq!(look(&*script).expect("read"), Ability::Script);
        assert_eq!(look(&b""[..]).expect("read"), Ability::Script);
        ability(Path::new("/")).expect_err("a directory");
    }

    #[test]
    fn programs_are_found_as_exec_does() {
        assert!(find(OsStr::new("sh")).expect("there").is_absolute());
        assert_eq!(find(OsStr::new("./x")).expect("as it is"), Path::new("./x"));
        let nowhere = find(OsStr::new("no-such-program-anywhere")).expect_err("nowhere");
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
    }
}
