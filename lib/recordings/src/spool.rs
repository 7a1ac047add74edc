//! A download on its way to the bucket: on disk, because its length and digest must be known before the
//! first byte of it is sent, and because memory is small.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use switchboard_http::{Download, SendError};

use crate::media::HEAD;

/// As much is read from disk at a time.
const PIECE: usize = 64 * 1024;

/// A file without a name, which is deleted with this value.
pub struct Spooled {
    /// How many bytes it has.
    pub bytes: u64,
    /// Their digest, in hexadecimal digits.
    pub sha256: String,
    /// How it begins: [`HEAD`] bytes, or all there are.
    pub head: Vec<u8>,
    file: File,
}

/// Why a download is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It did not come whole.
    #[error(transparent)]
    Broken(#[from] SendError),
    /// It came, and could not be kept.
    #[error("the disk of the function is full or out of order")]
    Disk(#[from] io::Error),
}

impl Spooled {
    /// Reads a download to its end.
    pub async fn read(mut download: Download) -> Result<Self, SpoolError> {
        let mut file = tempfile::tempfile()?;
        let (mut bytes, mut head, mut digest) = (0, Vec::with_capacity(HEAD), Sha256::new());
        while let Some(chunk) = download.chunk().await? {
            let chunk = chunk.as_ref();
            file.write_all(chunk)?;
            digest.update(chunk);
            bytes += chunk.len() as u64;
            head.extend(chunk.iter().take(HEAD - head.len()));
        }
        let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes, sha256, head, file })
    }

    /// The file as the body of a request.
    pub(crate) fn into_body(mut self) -> io::Result<FileBody> {
        self.file.rewind()?;
        Ok(FileBody { file: self.file, left: self.bytes })
    }
}

/// A file, read while it is sent.
pub(crate) struct FileBody {
    file: File,
    left: u64,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    /// The disk is the function's own and quick, and nothing else runs beside it: it is waited for.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(self.left).unwrap_or(PIECE))];
        let read = self.file.read_exact(&mut piece).map(|()| {
            self.left -= piece.len() as u64;
            Frame::data(Bytes::from(piece))
        });
        Poll::Ready(Some(read))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
