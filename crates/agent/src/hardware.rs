//! Which hardware this is: the ids that Linux shows, read where the kernel puts them.
//!
//! None of them proves anything, and some of them are junk on some boards; [`HardwareId::new`]
//! refuses the known junk. The strongest readable source is only a default: a kernel update can
//! add a stronger one, so the choice is kept in the state directory and stays what it was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use imprint_identity::{HardwareId, HardwareIdError, Source};

/// The sources that Linux shows, strongest first.
pub const LINUX_SOURCES: [Source; 6] = [
    Source::Soc,
    Source::DeviceTree,
    Source::Emmc,
    Source::Dmi,
    Source::Mac,
    Source::MachineId,
];

/// The id of the strongest source that can be read under `root` (`/` outside tests).
///
/// The error lists why each source gave nothing.
pub fn strongest(root: &Path) -> Result<HardwareId, Vec<HardwareReadError>> {
    let mut reasons = Vec::new();
    for source in LINUX_SOURCES {
        match read(source, root) {
            Ok(id) => return Ok(id),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons)
}

/// What a person typed: the name of a source that Linux shows is read, anything else is an id.
pub fn typed(text: &str, root: &Path) -> Result<HardwareId, HardwareReadError> {
    match LINUX_SOURCES
        .into_iter()
        .find(|source| source.prefix() == text)
    {
        Some(source) => read(source, root),
        None => Ok(HardwareId::parse(text)?),
    }
}

/// The id that `source` gives under `root`.
pub fn read(source: Source, root: &Path) -> Result<HardwareId, HardwareReadError> {
    let raw = match source {
        Source::Soc => text(source, &root.join("sys/devices/soc0/serial_number"))?,
        Source::DeviceTree => text(
            source,
            &root.join("sys/firmware/devicetree/base/serial-number"),
        )?,
        Source::Emmc => bytes(source, &emmc(root)?)?,
        Source::Dmi => bytes(source, &root.join("sys/class/dmi/id/product_uuid"))?,
        Source::Mac => bytes(source, &network_card(root)?)?,
        Source::MachineId => bytes(source, &root.join("etc/machine-id"))?,
        _ => return Err(HardwareReadError::NotOnLinux { of: source }),
    };
    HardwareId::new(source, &raw).map_err(|reason| HardwareReadError::Value { of: source, reason })
}

/// The boot loader ends the device tree's text with NUL, sysfs ends its lines with LF.
fn text(of: Source, path: &Path) -> Result<Vec<u8>, HardwareReadError> {
    let content = content(of, path)?;
    let end = content
        .iter()
        .rposition(|byte| !b"\0\n\r ".contains(byte))
        .map_or(0, |at| at + 1);
    Ok(content
        .get(..end)
        .unwrap_or_default()
        .trim_ascii_start()
        .to_vec())
}

/// Hex, with `:` and `-` between bytes as MACs and UUIDs have them.
fn bytes(of: Source, path: &Path) -> Result<Vec<u8>, HardwareReadError> {
    let content = content(of, path)?;
    let digits: Vec<u8> = content
        .trim_ascii()
        .iter()
        .copied()
        .filter(|byte| !b":-".contains(byte))
        .collect();
    hex::decode(digits).map_err(|_| HardwareReadError::NotHex {
        of,
        path: path.to_owned(),
    })
}

fn content(of: Source, path: &Path) -> Result<Vec<u8>, HardwareReadError> {
    fs::read(path).map_err(|source| HardwareReadError::Io {
        of,
        path: path.to_owned(),
        source,
    })
}

/// The CID of the soldered eMMC. An SD card has a CID too, and leaves with its owner.
fn emmc(root: &Path) -> Result<PathBuf, HardwareReadError> {
    let soldered = |device: &Path| {
        fs::read(device.join("device/type")).is_ok_and(|kind| kind.trim_ascii() == b"MMC")
    };
    let folder = root.join("sys/block");
    first(Source::Emmc, &folder, "mmcblk", soldered, "device/cid")
}

/// The address of the first network card, by name, whose address is the permanent one
/// (`addr_assign_type` 0) and which is a device and not a bridge or a tunnel. `ETHTOOL_GPERMADDR`
/// would also give the permanent address of a card that now wears another.
fn network_card(root: &Path) -> Result<PathBuf, HardwareReadError> {
    let permanent = |card: &Path| {
        card.join("device").exists()
            && fs::read(card.join("addr_assign_type")).is_ok_and(|kind| kind.trim_ascii() == b"0")
    };
    first(
        Source::Mac,
        &root.join("sys/class/net"),
        "",
        permanent,
        "address",
    )
}

fn first(
    of: Source,
    folder: &Path,
    prefix: &str,
    fits: impl Fn(&Path) -> bool,
    file: &str,
) -> Result<PathBuf, HardwareReadError> {
    let io = |source| HardwareReadError::Io {
        of,
        path: folder.to_owned(),
        source,
    };
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(io)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|n| n.starts_with(prefix))
        })
        .filter(|path| fits(path) && path.join(file).exists())
        .collect();
    found.sort();
    let found = found.into_iter().next();
    found
        .map(|path| path.join(file))
        .ok_or_else(|| io(io::ErrorKind::NotFound.into()))
}

/// Why a source gives no id here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardwareReadError {
    /// The kernel doesn't show it, or not to this user.
    #[error("{of}: can't read {}: {source}", path.display())]
    Io {
        /// The id's source.
        of: Source,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not hexadecimal.
    #[error("{of}: {} is not hexadecimal", path.display())]
    NotHex {
        /// The id's source.
        of: Source,
        /// The file.
        path: PathBuf,
    },
    /// A value that identifies nothing.
    #[error("{of}: {reason}")]
    Value {
        /// The id's source.
        of: Source,
        /// What is wrong with it.
        reason: HardwareIdError,
    },
    /// What was typed is no id.
    #[error(transparent)]
    Typed(#[from] HardwareIdError),
    /// A source of microcontrollers, secure elements or labels.
    #[error("{of} is not read by Linux; give the id as {of}:value")]
    NotOnLinux {
        /// The id's source.
        of: Source,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory with these files.
    fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    const SOC: (&str, &[u8]) = ("sys/devices/soc0/serial_number", b"0A1B2C3D4E5F6071\n");
    const TREE: (&str, &[u8]) = (
        "sys/firmware/devicetree/base/serial-number",
        b"10000000abcdef12\0",
    );
    const CID: &[u8] = b"150100424a4e42345207b1f4ec3d5500\n";
    const UUID: (&str, &[u8]) = (
        "sys/class/dmi/id/product_uuid",
        b"4c4c4544-0043-4a10-8053-b6c04f4d3132\n",
    );
    const MACHINE: (&str, &[u8]) = ("etc/machine-id", b"3d1219c7c4c5404aaa1f6d2a48adfda4\n");

    #[test]
    fn every_source_is_read_where_linux_puts_it() {
        let dir = root(&[
            SOC,
            TREE,
            UUID,
            MACHINE,
            ("sys/block/mmcblk0/device/type", b"SD\n"),
            (
                "sys/block/mmcblk0/device/cid",
                b"035344534333324780a1b2c3d4017300\n",
            ),
            ("sys/block/mmcblk2/device/type", b"MMC\n"),
            ("sys/block/mmcblk2/device/cid", CID),
            ("sys/block/sda/device/type", b"0\n"),
            ("sys/class/net/br0/address", b"24:6f:28:00:00:01\n"),
            ("sys/class/net/br0/addr_assign_type", b"0\n"),
            ("sys/class/net/eth0/address", b"24:6f:28:00:00:02\n"),
            ("sys/class/net/eth0/addr_assign_type", b"3\n"),
            ("sys/class/net/eth0/device/uevent", b""),
            ("sys/class/net/eth1/address", b"24:6f:28:00:00:03\n"),
            ("sys/class/net/eth1/addr_assign_type", b"0\n"),
            ("sys/class/net/eth1/device/uevent", b""),
        ]);
        for (source, want) in [
            (Source::Soc, "soc:0A1B2C3D4E5F6071"),
            (Source::DeviceTree, "dt-serial:10000000abcdef12"),
            (Source::Emmc, "emmc:150100424a4e42345207b1f4ec3d5500"),
            (Source::Dmi, "dmi:4c4c454400434a108053b6c04f4d3132"),
            (Source::Mac, "mac:246f28000003"),
            (
                Source::MachineId,
                "machine-id:3d1219c7c4c5404aaa1f6d2a48adfda4",
            ),
        ] {
            let id = read(source, dir.path()).unwrap();
            assert_eq!(id.to_string(), want);
        }
        assert_eq!(strongest(dir.path()).unwrap().source(), Source::Soc);
    }

    #[test]
    fn a_source_that_is_typed_is_read_and_an_id_is_taken() {
        let dir = root(&[SOC]);
        for (text, want) in [
            ("soc", Some("soc:0A1B2C3D4E5F6071")),
            ("soc:other", Some("soc:other")),
            ("SN-1", Some("custom:SN-1")),
            ("machine-id", None),
            ("stm32:00", None),
            ("", None),
        ] {
            let id = typed(text, dir.path()).ok().map(|id| id.to_string());
            assert_eq!(id.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn the_strongest_sound_source_is_taken() {
        let junk = (
            "sys/class/dmi/id/product_uuid",
            &b"03000200-0400-0500-0006-000700080009\n"[..],
        );
        let dir = root(&[junk, MACHINE, ("sys/devices/soc0/serial_number", b"\n")]);
        assert_eq!(strongest(dir.path()).unwrap().source(), Source::MachineId);
    }

    #[test]
    fn where_nothing_can_be_read_every_reason_is_given() {
        let dir = root(&[("etc/machine-id", b"uninitialized\n")]);
        let reasons = strongest(dir.path()).unwrap_err();
        assert_eq!(reasons.len(), LINUX_SOURCES.len());
        let text = reasons
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        assert!(
            text.contains("soc0/serial_number") && text.contains("not hexadecimal"),
            "{text}"
        );
        let error = read(Source::Stm32, dir.path()).unwrap_err();
        assert!(error.to_string().contains("stm32:value"), "{error}");
    }
}
