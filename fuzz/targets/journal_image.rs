//! Journal images as flash gives them back: a record has one image, and nothing else is an image.
#![no_main]

use crc::{CRC_32_ISO_HDLC, Crc};
use imprint_device::image::{self, IMAGE_SIZE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // A checksum is nothing that a fuzzer finds: so it is put right, and the fields are its play.
    let Some(fields) = bytes.get(..IMAGE_SIZE - 4) else {
        return;
    };
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(fields);
    check(&[fields, &crc.to_le_bytes()].concat());
});

fn check(bytes: &[u8]) {
    if let Some((sequence, record)) = image::parse(bytes) {
        assert_eq!(image::encode(sequence, &record), bytes);
        let _ = (record.step(), record.credential());
    }
}
