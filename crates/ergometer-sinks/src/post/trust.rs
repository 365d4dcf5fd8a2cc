//! Whose certificates are taken for good.

use std::fs;
use std::path::Path;

use ergometer::{Error, Result};
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// The authorities of a file in PEM, such as a company's own.
pub(super) fn authorities(path: &Path) -> Result<RootCerts> {
    let file = format!("the file of certificates `{}`", path.display());
    let cure = "name a file in PEM with the certificate of the authority that signs the server's";
    let text = fs::read(path)
        .map_err(|cause| Error::invalid(format!("{file} cannot be read: {cause}")).cure(cure))?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&text) {
        let broken = |cause| Error::invalid(format!("{file} is broken: {cause}")).cure(cure);
        if let PemItem::Certificate(certificate) = item.map_err(broken)? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(Error::invalid(format!("{file} holds none")).cure(cure));
    }
    Ok(RootCerts::from(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let refusal = |name: &str, text: Option<&str>| {
            let path = directory.path().join(name);
            text.into_iter().for_each(|text| fs::write(&path, text).unwrap());
            let refusal = authorities(&path).unwrap_err().to_string();
            assert!(refusal.contains(name), "{refusal}");
            refusal
        };
        assert!(refusal("missing.pem", None).contains("cannot be read"));
        assert!(refusal("empty.pem", Some("")).contains("holds none"));
        assert!(refusal("words.pem", Some("a certificate\n")).contains("holds none"));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(refusal("key.pem", Some(key)).contains("holds none"));
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(refusal("torn.pem", Some(torn)).contains("is broken"));
    }
}
