//! The steps of DER that the parsers of certificates do not offer: one element after another, with its header.

/// One element: its tag, its content, and the whole of it with its header.
pub(crate) struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    pub whole: &'a [u8],
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Read one element; return it and what follows it. `None` for tags of several bytes, and for lengths that are
/// indefinite or longer than they need be (X.690, section 10.1).
pub(crate) fn element(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, after_tag) = input.split_first()?;
    let (&first, after_first) = after_tag.split_first()?;
    if tag & 0x1F == 0x1F {
        return None;
    }
    let (length, after_length) = if first < 0x80 {
        (usize::from(first), after_first)
    } else {
        let (bytes, rest) = after_first.split_at_checked(usize::from(first & 0x7F))?;
        if bytes.len() > 4 || bytes.first().is_none_or(|&byte| byte == 0) {
            return None;
        }
        let length = bytes.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        if length < 0x80 {
            return None;
        }
        (length, rest)
    };
    let (content, rest) = after_length.split_at_checked(length)?;
    let whole = input.get(..input.len() - rest.len())?;
    Some((Element { tag, content, whole }, rest))
}

/// Read one element of this tag.
pub(crate) fn expect(input: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    element(input).filter(|(element, _)| element.tag == tag)
}

/// Read one element of this tag, which must be all there is.
pub(crate) fn only(input: &[u8], tag: u8) -> Option<&[u8]> {
    expect(input, tag).and_then(|(element, rest)| rest.is_empty().then_some(element.content))
}

/// Split a `SubjectPublicKeyInfo` into the content of its algorithm and the bits of its key.
pub(crate) fn public_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = only(spki, SEQUENCE)?;
    let (algorithm, rest) = expect(inner, SEQUENCE)?;
    Some((algorithm.content, whole_bits(rest)?))
}

/// Read a bit string that is all there is, and whose bits are whole bytes.
pub(crate) fn whole_bits(input: &[u8]) -> Option<&[u8]> {
    match only(input, BIT_STRING)?.split_first()? {
        (0, bits) => Some(bits),
        _ => None,
    }
}

/// Read an integer that is not negative; return its bytes without leading zeros, and what follows it.
pub(crate) fn unsigned(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (integer, rest) = expect(input, INTEGER)?;
    let content = integer.content;
    let (&first, others) = content.split_first()?;
    let padded = first == 0 && others.first().is_some_and(|&next| next & 0x80 == 0);
    (first & 0x80 == 0 && !padded).then(|| (without_zeros(content), rest))
}

/// Return the bytes without those in front that are zero.
pub(crate) fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        assert_eq!(element(&[4, 1, 9, 8]).map(|(one, rest)| (one.content, rest)), Some((&[9][..], &[8][..])));
        for wrong in [&[4, 0x81, 1, 9][..], &[4, 0x80, 0, 0], &[4, 0x82, 0, 1, 9], &[4, 2, 9], &[0x1F, 1, 1], &[4], &[]]
        {
            assert!(element(wrong).is_none(), "{wrong:?}");
        }
        let long = [&[4, 0x81, 0x80][..], &[7; 0x80]].concat();
        assert_eq!(element(&long).map(|(one, _)| (one.content.len(), one.whole.len())), Some((0x80, 0x83)));
    }

    #[test]
    fn integers_are_not_negative_and_have_no_padding() {
        assert_eq!(unsigned(&[2, 2, 0, 0x80]), Some((&[0x80][..], &[][..])));
        assert_eq!(unsigned(&[2, 1, 0]), Some((&[][..], &[][..])));
        for wrong in [&[2, 1, 0x80][..], &[2, 2, 0, 1], &[2, 0]] {
            assert_eq!(unsigned(wrong), None, "{wrong:?}");
        }
    }
}
