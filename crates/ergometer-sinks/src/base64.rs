//! Base64 (RFC 4648, 4 and 5).

/// Bytes as text, padded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sextet in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * sextet) & 63).unwrap_or_default();
            let digit = DIGITS.get(digit).filter(|_| sextet <= three.len());
            text.push(digit.copied().map_or('=', char::from));
        }
    }
    text
}

/// Bytes as text that may stand in an address, not padded.
pub(crate) fn for_url(bytes: &[u8]) -> String {
    let digits = encode(bytes);
    let digits = digits.trim_end_matches('=').chars();
    let digits = digits.map(|digit| match digit {
        '+' => '-',
        '/' => '_',
        digit => digit,
    });
    digits.collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(encode(&[0xfb, 0xef, 0xff]), "++//");
        assert_eq!(for_url(&[0xfb, 0xef, 0xff, 0xff]), "--___w");
    }
}
