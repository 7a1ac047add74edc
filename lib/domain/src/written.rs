//! A phone number as people and programs write it, to the plain characters of one.

use std::borrow::Cow;

/// Words that say what kind of number stands beside them, in lower case.
const LABELS: &[&str] = &[
    "tel",
    "telefon",
    "telephone",
    "teléfono",
    "téléphone",
    "phone",
    "ph",
    "number",
    "no",
    "nr",
    "num",
    "mobile",
    "mobil",
    "móvil",
    "mob",
    "cell",
    "cellular",
    "handy",
    "portable",
    "work",
    "business",
    "office",
    "home",
    "private",
    "landline",
    "main",
    "direct",
    "fax",
    "other",
    "whatsapp",
    "sms",
    "callto",
    "тел",
    "моб",
    "телефон",
    "мобильный",
];
/// Words before an internal number, or before what is dialled once the call is answered.
const EXTENSIONS: &[&str] = &[
    "ext",
    "extn",
    "extension",
    "x",
    "xt",
    "p",
    "w",
    "int",
    "dw",
    "durchwahl",
    "poste",
    "anexo",
    "ramal",
    "доб",
];
/// The zeros of decimal digits; the nine others follow each.
const ZEROS: [char; 22] = [
    '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}',
    '\u{be6}', '\u{c66}', '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}',
    '\u{1040}', '\u{1090}', '\u{17e0}', '\u{1810}', '\u{1946}', '\u{ff10}',
];
/// With fewer digits before it, a remark may belong to something else than a phone number.
const FEWEST: usize = 6;
/// The most digits of an internal number behind a public one.
const LONGEST_EXTENSION: usize = 7;

/// A number in ASCII, without what stands around it: a name, a label, an extension, the `.0` of a
/// spreadsheet, characters that cannot be seen. What is no number may come out changed.
pub fn number(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit() || b"+()-/ #*".contains(&b)) {
        return Cow::Borrowed(text);
    }
    let folded = characters(text);
    let mut rest = folded.trim();
    if let Some((_, address)) = rest.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        rest = address;
    }
    rest = rest.trim_matches(|c: char| c == ' ' || "\"'`=".contains(c));
    let lower = rest.to_lowercase();
    let is_address = ["sip:", "sips:", "client:", "sim:"].iter().any(|s| lower.starts_with(s));
    if is_address || rest.contains('@') || !rest.contains(|c: char| c.is_ascii_digit()) {
        return Cow::Owned(rest.to_owned());
    }
    let (scheme, mut rest) = match rest.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => ("tel:", rest[4..].trim_start()),
        _ => ("", rest),
    };
    while let Some(shorter) = without_label(rest).or_else(|| without_remark(rest)) {
        rest = shorter;
    }
    Cow::Owned(format!("{scheme}{}", whole(rest)))
}

/// A text with the characters of numbers in ASCII, and without those that cannot be seen.
pub fn characters(text: &str) -> String {
    text.chars().filter_map(character).collect()
}

fn character(c: char) -> Option<char> {
    if c.is_ascii_graphic() {
        return Some(c);
    }
    if let Some(digit) = ZEROS.iter().find_map(|zero| {
        let value = u32::from(c).checked_sub(u32::from(*zero)).filter(|value| *value < 10)?;
        char::from_digit(value, 10)
    }) {
        return Some(digit);
    }
    Some(match c {
        c if c.is_whitespace() => ' ',
        // Soft hyphen, joiners, marks of direction and of variants, keycaps, tags.
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{20e3}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => return None,
        c if c.is_control() => return None,
        '\u{2010}'..='\u{2015}'
        | '\u{2043}'
        | '\u{2212}'
        | '\u{2796}'
        | '\u{30fc}'
        | '\u{fe58}'
        | '\u{fe63}' => '-',
        '\u{207a}' | '\u{2795}' | '\u{fe62}' => '+',
        '\u{b7}' | '\u{2022}' | '\u{2024}' | '\u{2027}' => '.',
        '\u{2044}' | '\u{2215}' => '/',
        '\u{ab}' | '\u{bb}' | '\u{2018}'..='\u{201f}' => '"',
        '\u{d7}' => 'x',
        // Full width: the same as ASCII, further up.
        '\u{ff01}'..='\u{ff5e}' => return char::from_u32(u32::from(c) - 0xfee0),
        other => other,
    })
}

/// What follows a label: `mobile: +61…`, `(work) +61…`.
fn without_label(text: &str) -> Option<&str> {
    let rest = match text.strip_prefix(['(', '[']) {
        Some(inside) => {
            let (label, rest) = inside.split_once([')', ']'])?;
            label.contains(char::is_alphabetic).then_some(rest)?
        }
        None => {
            let rest = text.trim_start_matches(char::is_alphabetic);
            let word = text[..text.len() - rest.len()].to_lowercase();
            let one_letter = word.chars().count() == 1 && rest.starts_with([':', '.']);
            let label = is_label(&word) && rest.starts_with([' ', '.', ':', '=', '+', '(']);
            (one_letter || label).then_some(rest)?
        }
    };
    let rest = rest.trim_start_matches(|c: char| " .:=-".contains(c));
    rest.contains(|c: char| c.is_ascii_digit()).then_some(rest)
}

/// What stands before an extension or a remark: `…156 ext. 12`, `…156;ext=12`, `…156 (mobile)`.
fn without_remark(text: &str) -> Option<&str> {
    let digit = text.find(|c: char| c.is_ascii_digit())?;
    let (_, rest) = text.split_at(digit);
    let parameter = rest.find([';', ',']).map(|at| digit + at);
    let word = rest.find(char::is_alphabetic).map(|at| digit + at);
    let bracket = text.strip_suffix([')', ']']).and_then(|inside| inside.rfind(['(', '[']));
    let remark = match bracket {
        Some(opens) if text[opens..].contains(char::is_alphabetic) => Some(opens),
        _ => word.filter(|word| is_remark(&text[*word..])),
    };
    let cut = parameter.into_iter().chain(remark).min()?;
    let before = text[..cut].trim_end_matches(|c: char| " .:,;-([/".contains(c));
    let digits = before.bytes().filter(u8::is_ascii_digit).count();
    (digits >= FEWEST).then_some(before)
}

/// Whether all of a text is labels, extensions and the internal numbers behind those.
fn is_remark(text: &str) -> bool {
    let mut rest = text;
    let mut most_digits = 0;
    loop {
        rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
        let Some(first) = rest.chars().next() else { return true };
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| !c.is_alphanumeric() || c.is_ascii_digit() != is_number);
        let (word, others) = rest.split_at(end.unwrap_or(rest.len()));
        let word = word.to_lowercase();
        if !(if is_number { word.len() <= most_digits } else { is_label(&word) }) {
            return false;
        }
        let is_extension = EXTENSIONS.contains(&word.as_str());
        most_digits = if is_extension { LONGEST_EXTENSION } else { 0 };
        rest = others;
    }
}

fn is_label(word: &str) -> bool {
    LABELS.contains(&word) || EXTENSIONS.contains(&word)
}

/// A number that a spreadsheet or a program wrote as a fraction: `61491570156.0`.
fn whole(text: &str) -> &str {
    let Some((whole, fraction)) = text.split_once('.') else { return text };
    let digits = whole.strip_prefix('+').unwrap_or(whole);
    let is_whole = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !fraction.is_empty()
        && fraction.len() <= 2
        && fraction.bytes().all(|b| b == b'0');
    if is_whole { whole } else { text }
}
