//! The rules of RFC 5280 for one certificate that path building does not check.
//!
//! `rustls-webpki` takes what real certificates of the web get wrong, and knows of an anchor only its name, its key and
//! its name constraints. A firm's certificates are its own, so here each must be as the standard says. Where RFC 5280
//! and the profile of the web (CA/Browser Forum) differ, the stricter counts.

use crate::certificate::Certificate;
use crate::refusal::{At, Refusal};

type Rule = Result<(), &'static str>;

/// Return an error unless this is so.
fn must(holds: bool, rule: &'static str) -> Rule {
    if holds { Ok(()) } else { Err(rule) }
}

/// Check a leaf.
pub(crate) fn check_leaf(leaf: &Certificate) -> Result<(), Refusal> {
    known(leaf)?;
    key(leaf, At::LEAF)?;
    basics(leaf)
        .and_then(|()| serial(leaf))
        .and_then(|()| issued(leaf))
        .and_then(|()| of_leaf(leaf))
        .map_err(broken(At::LEAF))
}

/// Check a CA between leaf and anchor.
pub(crate) fn check_issuer(ca: &Certificate, at: At) -> Result<(), Refusal> {
    known(ca)?;
    key(ca, at)?;
    basics(ca).and_then(|()| serial(ca)).and_then(|()| issued(ca)).and_then(|()| of_ca(ca)).map_err(broken(at))
}

/// Check an anchor's certificate.
pub(crate) fn check_anchor(anchor: &Certificate, at: At) -> Result<(), Refusal> {
    known(anchor)?;
    key(anchor, at)?;
    basics(anchor).and_then(|()| of_ca(anchor)).and_then(|()| of_anchor(anchor)).map_err(broken(at))
}

fn broken(at: At) -> impl Fn(&'static str) -> Refusal {
    move |rule| Refusal::NotConforming { at, rule }
}

fn known(certificate: &Certificate) -> Result<(), Refusal> {
    if certificate.facts.has_unknown_critical { Err(Refusal::CriticalExtension) } else { Ok(()) }
}

fn key(certificate: &Certificate, at: At) -> Result<(), Refusal> {
    certificate.facts.key_fault.map_or(Ok(()), |what| Err(Refusal::WeakKey { at, what }))
}

fn basics(certificate: &Certificate) -> Rule {
    let facts = &certificate.facts;
    must(facts.is_version_3, "it has version 3 (4.1.2.1)")?;
    must(!is_empty(&certificate.issuer), "its issuer has a name (4.1.2.4)")?;
    must(facts.are_times_well_encoded, "times until 2049 are UTCTime, later ones GeneralizedTime (4.1.2.5)")?;
    let authority_key = facts.authority_key.as_ref().is_some_and(|key| key.critical);
    must(!authority_key, "authorityKeyIdentifier is not critical (4.2.1.1)")?;
    must(
        !facts.subject_key.as_ref().is_some_and(|key| key.critical),
        "subjectKeyIdentifier is not critical (4.2.1.2)",
    )?;
    must(!facts.has_lax_policies, "policyConstraints and inhibitAnyPolicy are critical (4.2.1.11, 4.2.1.14)")?;
    must(!facts.has_critical_access, "authorityInfoAccess is not critical (4.2.2.1)")
}

/// Return whether a name in DER has no attribute.
fn is_empty(name: &[u8]) -> bool {
    name.len() <= 2
}

fn serial(certificate: &Certificate) -> Rule {
    let serial = &certificate.facts.serial;
    let is_positive = serial.first().is_some_and(|byte| byte & 0x80 == 0) && !certificate.serial.is_empty();
    // A CRL has it in its shortest form.
    let is_padded = matches!(**serial, [0, second, ..] if second & 0x80 == 0);
    let is_right = is_positive && !is_padded && serial.len() <= 20;
    must(is_right, "its serial number is positive and has at most 20 bytes (4.1.2.2)")
}

fn issued(certificate: &Certificate) -> Rule {
    let has_id = certificate.facts.authority_key.as_ref().is_some_and(|key| key.id.is_some());
    must(has_id, "authorityKeyIdentifier names the issuer's key (4.2.1.1)")
}

fn of_leaf(leaf: &Certificate) -> Rule {
    let facts = &leaf.facts;
    must(!facts.basic.is_some_and(|basic| basic.ca), "a CA is no leaf (4.2.1.9)")?;
    must(facts.constraints.is_none(), "only CAs have nameConstraints (4.2.1.10)")?;
    match (is_empty(&leaf.subject), facts.alternative) {
        (true, Some(true)) | (false, None | Some(false)) => Ok(()),
        _ => Err("subjectAltName is critical if the subject has no name, and only then (4.2.1.6)"),
    }?;
    let signs = facts.key_usage.is_some_and(|usage| usage.cert_sign || usage.crl_sign);
    must(!signs, "a leaf's keyUsage has neither keyCertSign nor cRLSign (4.2.1.3)")
}

fn of_ca(ca: &Certificate) -> Rule {
    let facts = &ca.facts;
    must(!is_empty(&ca.subject), "a CA has a name (4.1.2.6)")?;
    must(facts.basic.is_some_and(|basic| basic.ca && basic.critical), "a CA has critical basicConstraints (4.2.1.9)")?;
    must(facts.key_usage.is_some_and(|usage| usage.cert_sign), "a CA's keyUsage has keyCertSign (4.2.1.3)")?;
    must(facts.subject_key.is_some(), "a CA has a subjectKeyIdentifier (4.2.1.2)")?;
    let Some(constraints) = facts.constraints else { return Ok(()) };
    constraints.fault.map_or(Ok(()), Err)?;
    must(constraints.critical, "nameConstraints are critical (4.2.1.10)")
}

fn of_anchor(anchor: &Certificate) -> Rule {
    let facts = &anchor.facts;
    must(facts.extended.is_none(), "an anchor has no extendedKeyUsage (CA/Browser Forum, 7.1.2.1)")?;
    let Some(authority_key) = &facts.authority_key else {
        return must(anchor.is_self_issued(), "authorityKeyIdentifier names the issuer's key (4.2.1.1)");
    };
    must(authority_key.id.is_some(), "authorityKeyIdentifier names the issuer's key (4.2.1.1)")?;
    must(
        !authority_key.names_certificate,
        "an anchor's authorityKeyIdentifier has the key only (CA/Browser Forum, 7.1.2.1)",
    )?;
    let is_own = authority_key.id.as_deref() == anchor.key_id();
    must(is_own || !anchor.is_self_issued(), "an anchor's authorityKeyIdentifier names its own key (4.2.1.1)")
}
