//! Large values, compressed and cut into parts that fit into items.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// DynamoDB's items hold 400 KB; this leaves room for everything beside the bytes.
const LARGEST_PART: usize = 350 * 1024;

/// Compresses and cuts; at least one part.
pub fn pack(bytes: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    let packed = encoder.finish()?;
    Ok(packed.chunks(LARGEST_PART).map(<[u8]>::to_vec).collect())
}

/// Joins and decompresses; never to more than `length` bytes and one.
pub fn unpack(parts: &[Vec<u8>], length: u64) -> std::io::Result<Vec<u8>> {
    let packed = parts.concat();
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..]).take(length.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_unpacked_than_was_said_to_be_there() {
        let parts = pack(&vec![0; 50_000_000]).unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(unpack(&parts, 10).unwrap().len(), 11);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let packed = pack(b"agent: hello").unwrap().concat();
        assert!(unpack(&[packed[..packed.len() - 1].to_vec()], 100).is_err());
    }
}
