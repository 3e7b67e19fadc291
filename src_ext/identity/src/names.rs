//! Distinguished names: their attributes as texts, and the whole as RFC 4514 writes it.

use x509_parser::prelude::*;

/// The attribute types that RFC 4514, section 3, gives short names, and two more that certificates often have. All
/// others go by their numbers.
const SHORT: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A name that was read.
pub(crate) struct Name {
    /// Attribute and value, in the order of the certificate.
    pub attributes: Vec<(String, String)>,
    /// The name as text.
    pub text: String,
}

/// Read a name. `None` if a value is no text: what nobody can read, no rule can match.
pub(crate) fn read(name: &X509Name<'_>) -> Option<Name> {
    let mut attributes = Vec::new();
    let mut texts = Vec::new();
    for rdn in name.iter_rdn() {
        let mut joined = Vec::new();
        for attribute in rdn.iter() {
            let number = attribute.attr_type().to_id_string();
            let short = SHORT.iter().find(|(known, _)| *known == number).map(|(_, short)| (*short).to_owned());
            let (ty, value) = (short.unwrap_or(number), text_of(attribute.attr_value())?);
            joined.push(format!("{ty}={}", escaped(&value)));
            attributes.push((ty, value));
        }
        texts.push(joined.join("+"));
    }
    texts.reverse();
    Some(Name { attributes, text: texts.join(",") })
}

/// Read a string type of ASN.1 (X.680, section 41).
fn text_of(value: &x509_parser::der_parser::asn1_rs::Any<'_>) -> Option<String> {
    let data = value.data;
    let ascii = || data.is_ascii().then(|| data.iter().map(|&byte| char::from(byte)).collect());
    match value.tag().0 {
        // UTF8String
        12 => std::str::from_utf8(data).ok().map(str::to_owned),
        // NumericString, PrintableString, IA5String, VisibleString
        18 | 19 | 22 | 26 => ascii(),
        // TeletexString, which everybody takes for Latin-1
        20 => Some(data.iter().map(|&byte| char::from(byte)).collect()),
        // BMPString
        30 => {
            let units = data.chunks_exact(2);
            let whole = units.remainder().is_empty();
            let units = units.map(|unit| unit.iter().fold(0, |unit, &byte| unit << 8 | u16::from(byte)));
            char::decode_utf16(units).collect::<Result<String, _>>().ok().filter(|_| whole)
        }
        // UniversalString
        28 => {
            let units = data.chunks_exact(4);
            let whole = units.remainder().is_empty();
            let units = units.map(|unit| unit.iter().fold(0, |unit, &byte| unit << 8 | u32::from(byte)));
            units.map(char::from_u32).collect::<Option<String>>().filter(|_| whole)
        }
        // A bit string, as x500UniqueIdentifier has, is shown as its bytes.
        3 => Some(hex(data)),
        _ => None,
    }
}

/// Return bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]).collect()
}

/// Escape a value (RFC 4514, section 2.4).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (place, one) in value.chars().enumerate() {
        match one {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', one]),
            '#' if place == 0 => text.push_str("\\#"),
            ' ' if place == 0 || place == last => text.push_str("\\ "),
            '\0' => text.push_str("\\00"),
            _ => text.push(one),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        for (value, expected) in [
            ("a", "a"),
            (r#"a,b+"c";<d>\"#, r#"a\,b\+\"c\"\;\<d\>\\"#),
            ("#a#", r"\#a#"),
            (" a b ", r"\ a b\ "),
            (" ", r"\ "),
            ("a\0", r"a\00"),
            ("Zürich", "Zürich"),
        ] {
            assert_eq!(escaped(value), expected);
        }
    }

    #[test]
    fn strings_of_each_type_are_read() {
        use x509_parser::der_parser::asn1_rs::{Any, FromDer};
        let read = |der: &[u8]| Any::from_der(der).ok().and_then(|(_, any)| text_of(&any));
        assert_eq!(read(&[12, 2, 0xC3, 0xBC]).as_deref(), Some("ü"));
        assert_eq!(read(&[12, 1, 0xC3]), None);
        assert_eq!(read(&[19, 1, b'a']).as_deref(), Some("a"));
        assert_eq!(read(&[19, 1, 0xFC]), None);
        assert_eq!(read(&[20, 1, 0xFC]).as_deref(), Some("ü"));
        assert_eq!(read(&[30, 2, 0, 0xFC]).as_deref(), Some("ü"));
        assert_eq!(read(&[30, 3, 0, 0xFC, 0]), None);
        assert_eq!(read(&[28, 4, 0, 0, 0, 0xFC]).as_deref(), Some("ü"));
        assert_eq!(read(&[28, 4, 0, 0x11, 0, 0]), None);
        assert_eq!(read(&[3, 2, 0, 0xAB]).as_deref(), Some("00ab"));
        assert_eq!(read(&[2, 1, 7]), None);
    }
}
