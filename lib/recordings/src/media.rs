//! What is taken for audio: by what its server says it is and, where that says nothing, by how it begins.

/// As many bytes of a file are enough to see what it is.
pub const HEAD: usize = 16;

/// The media type of a recording as it is stored, or `None`: it is no audio.
///
/// `said` is the header `Content-Type` as it came. A type that only says "bytes" says nothing. What is
/// stored is one of the types of this file and never what a server wrote, so that a browser that is led
/// to a copy plays it and does nothing else.
pub fn media_type(said: Option<&str>, head: &[u8]) -> Option<&'static str> {
    let said = said.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match said.to_ascii_lowercase().as_str() {
        ""
        | "application/octet-stream"
        | "binary/octet-stream"
        | "application/binary"
        | "application/x-download"
        | "application/force-download" => beginning(head),
        "audio/mpeg" | "audio/mp3" | "audio/x-mp3" | "audio/mpeg3" | "audio/x-mpeg" => {
            Some("audio/mpeg")
        }
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" | "audio/x-pn-wav" => {
            Some("audio/wav")
        }
        "audio/ogg" | "audio/opus" | "audio/vorbis" | "application/ogg" => Some("audio/ogg"),
        "audio/webm" => Some("audio/webm"),
        "audio/mp4" | "audio/m4a" | "audio/x-m4a" => Some("audio/mp4"),
        "audio/aac" | "audio/x-aac" | "audio/aacp" => Some("audio/aac"),
        "audio/flac" | "audio/x-flac" => Some("audio/flac"),
        "audio/amr" | "audio/amr-wb" => Some("audio/amr"),
        "audio/basic" => Some("audio/basic"),
        "audio/gsm" | "audio/x-gsm" => Some("audio/gsm"),
        _ => None,
    }
}

/// By the first bytes of a file.
fn beginning(head: &[u8]) -> Option<&'static str> {
    match head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some("audio/wav"),
        [b'I', b'D', b'3', ..] => Some("audio/mpeg"),
        [b'O', b'g', b'g', b'S', ..] => Some("audio/ogg"),
        [b'f', b'L', b'a', b'C', ..] => Some("audio/flac"),
        [b'#', b'!', b'A', b'M', b'R', ..] => Some("audio/amr"),
        [b'.', b's', b'n', b'd', ..] => Some("audio/basic"),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some("audio/webm"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("audio/mp4"),
        // Text in UTF-16 begins so.
        [0xff, 0xfe, ..] => None,
        // Frames begin with eleven or twelve ones. ADTS has layer 0; of MPEG audio that is reserved.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => Some("audio/aac"),
        [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 != 0 => Some("audio/mpeg"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_said_is_believed_if_it_is_audio() {
        for (said, kept) in [
            ("audio/mpeg", Some("audio/mpeg")),
            ("Audio/X-WAV; codecs=1", Some("audio/wav")),
            ("application/ogg", Some("audio/ogg")),
            ("audio/x-m4a", Some("audio/mp4")),
            ("audio/svg+xml", None),
            ("text/html; charset=utf-8", None),
            ("application/json", None),
            ("application/xml", None),
            ("video/mp4", None),
            ("image/svg+xml", None),
            ("audio", None),
        ] {
            // Whatever the bytes look like.
            assert_eq!(media_type(Some(said), b"ID3"), kept, "{said}");
        }
    }

    #[test]
    fn where_nothing_is_said_the_first_bytes_tell() {
        for (head, kept) in [
            (&b"RIFF\x24\x00\x00\x00WAVEfmt "[..], Some("audio/wav")),
            (b"RIFF\x24\x00\x00\x00AVI LIST", None),
            (b"ID3\x04", Some("audio/mpeg")),
            (b"\xff\xfb\x90\x64", Some("audio/mpeg")),
            (b"\xff\xf3\x90\x64", Some("audio/mpeg")),
            (b"\xff\xf1\x50\x80", Some("audio/aac")),
            // Text in UTF-16, which begins with these two.
            (b"\xff\xfe<\x00h\x00", None),
            (b"OggS\x00", Some("audio/ogg")),
            (b"fLaC", Some("audio/flac")),
            (b"\x00\x00\x00\x20ftypM4A ", Some("audio/mp4")),
            (b"#!AMR\n", Some("audio/amr")),
            (b"\x1a\x45\xdf\xa3", Some("audio/webm")),
            (b"<!DOCTYPE html>", None),
            (b"{\"error\":1}", None),
            (b"PK\x03\x04", None),
            (b"", None),
        ] {
            for said in
                [None, Some(""), Some("application/octet-stream"), Some("binary/octet-stream")]
            {
                assert_eq!(media_type(said, head), kept, "{said:?} {head:?}");
            }
        }
    }
}
