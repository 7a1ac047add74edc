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
