//! From strace's record to what happened to the disk, in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What happened, to a file in the ledger's directory, or to its caller.
#[derive(Debug)]
pub(crate) enum Event {
    Create(PathBuf),
    Write {
        path: PathBuf,
        at: usize,
        octets: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        length: usize,
    },
    Remove(PathBuf),
    /// Everything that was done to this file, and to any name before, is on the disk.
    Flush(PathBuf),
    /// A caller was told.
    Told(String),
}

/// Reads a record made with `-f -y -xx`. Shared memory (`-shm`) is left out: it is rebuilt.
///
/// A write counts from its beginning, a flush from its end: both are the harder reading.
pub(crate) fn read(record: &str, dir: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    let mut flushing = BTreeMap::new();
    for line in record.lines() {
        let (process, rest) = line
            .split_once(' ')
            .expect("strace -f begins with a process");
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(path) = flushing.remove(process)
                && resumed.ends_with("= 0")
            {
                events.push(Event::Flush(path));
            }
            continue;
        }
        let Some((call, arguments)) = rest.split_once('(') else {
            continue;
        };
        let unfinished = arguments.ends_with("<unfinished ...>");
        if !unfinished
            && arguments
                .rsplit_once("= ")
                .is_some_and(|(_, r)| r.starts_with('-'))
        {
            continue;
        }
        let arguments = arguments
            .rsplit_once(')')
            .map_or(arguments, |(before, _)| before);
        let arguments = arguments.trim_end_matches("<unfinished ...>").trim_end();
        match call {
            "openat" => {
                let path = quoted(arguments);
                if arguments.contains("O_CREAT") {
                    events.extend(ours(path, dir).map(Event::Create));
                }
            }
            "unlink" => events.extend(ours(quoted(arguments), dir).map(Event::Remove)),
            "ftruncate" => {
                events.extend(of_descriptor(arguments, dir).map(|path| Event::Truncate {
                    path,
                    length: last_number(arguments),
                }));
            }
            "pwrite64" => events.extend(of_descriptor(arguments, dir).map(|path| Event::Write {
                path,
                at: last_number(arguments),
                octets: quoted(arguments),
            })),
            "write" => {
                if let Some(path) = of_descriptor(arguments, dir) {
                    assert!(
                        path.ends_with("told"),
                        "an unplaced write to {}",
                        path.display()
                    );
                    let told = String::from_utf8(quoted(arguments)).unwrap();
                    events.push(Event::Told(told.trim_end().to_owned()));
                }
            }
            "fsync" | "fdatasync" => {
                // Of a directory: it flushes names, as any flush does.
                let Some(path) = of_descriptor(arguments, dir) else {
                    continue;
                };
                if unfinished {
                    flushing.insert(process, path);
                } else {
                    events.push(Event::Flush(path));
                }
            }
            _ => {}
        }
    }
    events
}

fn of_descriptor(arguments: &str, dir: &Path) -> Option<PathBuf> {
    let (_, rest) = arguments.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    ours(octets(path), dir)
}

fn ours(path: Vec<u8>, dir: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(String::from_utf8(path).ok()?);
    let name = path.strip_prefix(dir).ok()?.to_owned();
    (!name.to_string_lossy().ends_with("-shm")).then_some(name)
}

/// The octets between the first pair of quotes.
fn quoted(arguments: &str) -> Vec<u8> {
    let text = arguments.split('"').nth(1).expect("a quoted argument");
    assert!(
        !arguments.contains("\"..."),
        "strace has cut an argument short"
    );
    octets(text)
}

fn octets(text: &str) -> Vec<u8> {
    text.split("\\x")
        .skip(1)
        .map(|hex| u8::from_str_radix(&hex[..2], 16).expect("strace -xx writes hex"))
        .collect()
}

fn last_number(arguments: &str) -> usize {
    let (_, number) = arguments.rsplit_once(", ").expect("a last argument");
    number.parse().expect("a number")
}
