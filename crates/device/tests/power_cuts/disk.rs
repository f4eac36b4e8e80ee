//! A file system that keeps only what was synced, and loses or tears the rest as chance has it.

use std::io;

use super::power::{Cut, Power, Spark, Tear};

/// Names and contents, as programs see them and as the disk has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    seen: Vec<(String, usize)>,
    kept: Vec<(String, usize)>,
    contents: Vec<Content>,
    pub writes: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Content {
    seen: Vec<u8>,
    kept: Vec<u8>,
}

pub fn cut_error(_: Cut) -> io::Error {
    io::Error::other("power cut")
}

impl Disk {
    pub fn read(&self, power: &Power, name: &str) -> io::Result<Option<Vec<u8>>> {
        if power.dead {
            return Err(cut_error(Cut));
        }
        Ok(find(&self.seen, name).map(|at| self.contents[at].seen.clone()))
    }

    pub fn write(&mut self, power: &mut Power, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        self.step(power)?;
        let at = find(&self.seen, name).unwrap_or_else(|| {
            self.contents.push(Content::default());
            self.seen.push((name.to_owned(), self.contents.len() - 1));
            self.contents.len() - 1
        });
        self.contents[at].seen.clear();
        self.step(power)?;
        self.contents[at].seen.extend_from_slice(bytes);
        self.step(power)
    }

    pub fn sync(&mut self, power: &mut Power, name: &str) -> io::Result<()> {
        self.step(power)?;
        let at = find(&self.seen, name).expect("syncing a file that is there");
        self.contents[at].kept = self.contents[at].seen.clone();
        self.step(power)
    }

    pub fn rename(&mut self, power: &mut Power, from: &str, to: &str) -> io::Result<()> {
        self.step(power)?;
        let at = find(&self.seen, from).expect("renaming a file that is there");
        self.seen.retain(|(name, _)| name != from && name != to);
        self.seen.push((to.to_owned(), at));
        self.step(power)
    }

    pub fn sync_names(&mut self, power: &mut Power) -> io::Result<()> {
        self.step(power)?;
        self.kept = self.seen.clone();
        self.step(power)
    }

    fn step(&mut self, power: &mut Power) -> io::Result<()> {
        match power.spend().map_err(cut_error)? {
            Spark::Whole | Spark::Skipped => Ok(()),
            Spark::Torn(tear) => {
                self.crash(power, tear);
                Err(cut_error(Cut))
            }
        }
    }

    /// What the disk has after the cut: names and contents that were not synced may be there or
    /// not, each for itself.
    pub fn crash(&mut self, power: &mut Power, tear: Tear) {
        let chance = &mut power.chance;
        let names_kept = match tear {
            Tear::Clean | Tear::Ignored => false,
            Tear::Byte(_) | Tear::Few(_) | Tear::Faint(_) => true,
            Tear::Word(_) | Tear::Weak(_) => chance.one_in(2),
        };
        if names_kept {
            self.kept.clone_from(&self.seen);
        }
        self.seen.clone_from(&self.kept);
        for content in self
            .contents
            .iter_mut()
            .filter(|content| content.seen != content.kept)
        {
            let length = content.seen.len().max(1);
            let torn = usize::try_from(chance.next()).unwrap_or(0) % length;
            match tear {
                Tear::Clean | Tear::Faint(_) | Tear::Ignored => {}
                Tear::Byte(_) => content.kept = content.seen[..torn.min(content.seen.len())].into(),
                Tear::Word(_) => content.kept = vec![0; content.seen.len()],
                Tear::Few(_) => {
                    content.kept = content
                        .seen
                        .iter()
                        .map(|byte| byte ^ chance.sparse())
                        .collect();
                }
                Tear::Weak(_) => content.kept.clone_from(&content.seen),
            }
            content.seen.clone_from(&content.kept);
        }
    }
}

fn find(names: &[(String, usize)], name: &str) -> Option<usize> {
    names
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, at)| *at)
}
