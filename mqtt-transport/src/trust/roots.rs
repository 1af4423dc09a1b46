//! Which certificates are trusted: those of CAs, and servers' own.

use super::error::{PemSource, TrustError};
use super::pem::{self, PemContent, Section};
use super::source::{Pem, read_file, unreadable};
use crate::der;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, RootCertStore};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where certificates that are trusted come from.
#[derive(Clone)]
pub(super) enum Authority {
    System,
    Pem(Pem),
    Directory(PathBuf),
}

/// What is trusted.
#[derive(Debug)]
pub(crate) struct Roots {
    /// CAs, which vouch for others.
    pub(crate) authorities: RootCertStore,
    /// All certificates that were given, in DER. A server that shows one of them needs nobody to
    /// vouch for it.
    pub(crate) pinned: HashSet<Vec<u8>>,
}

impl Roots {
    pub(super) fn new(authorities: &[Authority]) -> Result<Self, TrustError> {
        let mut roots = Self {
            authorities: RootCertStore::empty(),
            pinned: HashSet::new(),
        };
        if authorities.is_empty() {
            roots.add_system()?;
        }
        for authority in authorities {
            match authority {
                Authority::System => roots.add_system()?,
                Authority::Pem(pem) => {
                    let bytes = pem.read()?;
                    if roots.add(&bytes, &pem.source())? == 0 {
                        let hint = pem::instead(&bytes, PemContent::Trusted);
                        return Err(TrustError::NoCertificate {
                            source_name: pem.source(),
                            hint,
                        });
                    }
                }
                Authority::Directory(path) => roots.add_directory(path)?,
            }
        }
        Ok(roots)
    }

    fn add_system(&mut self) -> Result<(), TrustError> {
        let found = rustls_native_certs::load_native_certs();
        // A few that nobody can read are not worth failing for.
        let (added, _ignored) = self.authorities.add_parsable_certificates(found.certs);
        if added > 0 {
            return Ok(());
        }
        let reason = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "none were found".into(),
        };
        Err(TrustError::NoSystemAuthorities { reason })
    }

    fn add_directory(&mut self, path: &Path) -> Result<(), TrustError> {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut files: Vec<_> = entries
            .map_err(|error| unreadable(path, &error))?
            .iter()
            .map(fs::DirEntry::path)
            .collect();
        files.sort();
        let mut found = 0;
        for file in files.iter().filter(|file| file.is_file()) {
            let bytes = read_file(file)?;
            found += self.add(&bytes, &PemSource::Path(file.clone()))?;
        }
        if found == 0 {
            let source_name = PemSource::Path(path.to_owned());
            return Err(TrustError::NoCertificate {
                source_name,
                hint: "",
            });
        }
        Ok(())
    }

    /// Adds the certificates of a PEM file. Returns how many there are.
    fn add(&mut self, bytes: &[u8], source: &PemSource) -> Result<usize, TrustError> {
        let sections = pem::sections(bytes).map_err(|fault| fault.of(source))?;
        // Where none but OpenSSL's own are, the file has none.
        let has_any = sections.iter().any(Section::is_certificate);
        let mut count = 0;
        for section in &sections {
            if section.is_certificate() {
                count += 1;
                self.add_one(section, count, source)?;
            } else if has_any && section.is_annotated_certificate() {
                let reason = "it is a TRUSTED CERTIFICATE, which only OpenSSL reads; convert it: openssl x509";
                let der = section.decode().map_err(|fault| fault.of(source))?;
                return Err(bad(&der, count + 1, section, source, reason.to_owned()));
            }
        }
        Ok(count)
    }

    fn add_one(
        &mut self,
        section: &Section<'_>,
        number: usize,
        source: &PemSource,
    ) -> Result<(), TrustError> {
        let der = section.decode().map_err(|fault| fault.of(source))?;
        // In a directory made for OpenSSL each is there twice, the second time as a link.
        if self.pinned.contains(&der) {
            return Ok(());
        }
        if let Err(error) = self.authorities.add(CertificateDer::from(&der[..])) {
            // What is no CA's is needed only as it is.
            if der::Certificate::read(&der).is_none_or(|certificate| certificate.is_authority()) {
                let reason = match error {
                    rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
                        "it is damaged".to_owned()
                    }
                    other => other.to_string(),
                };
                return Err(bad(&der, number, section, source, reason));
            }
        }
        self.pinned.insert(der);
        Ok(())
    }
}

fn bad(
    der: &[u8],
    number: usize,
    section: &Section<'_>,
    source: &PemSource,
    reason: String,
) -> TrustError {
    let subject = der::subject_of_damaged(der);
    TrustError::BadCertificate {
        source_name: source.clone(),
        number,
        line: section.line,
        subject,
        reason,
    }
}
