//! The verification of certificates for Python: authorities, certificates and signatures.

use crate::errors::raise;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::collections::BTreeMap;
use ztfast_identity::{
    AuthorityConfig, Certificate, Digest, Proved, Refusal, Request, RevocationPolicy, SpiffeId, Vouching, sha256, spiffe_id,
};

/// Return the `CredentialError` of a refusal.
fn refused(py: Python<'_>, refusal: &Refusal) -> PyErr {
    credential_error(py, refusal.code(), &refusal.to_string())
}

/// Return a `CredentialError` with a code.
pub(crate) fn credential_error(py: Python<'_>, code: &str, message: &str) -> PyErr {
    let message = ztfast_cedar::shown(message).into_owned();
    let class = py.import("ztfast.errors").and_then(|errors| errors.getattr("CredentialError"));
    match class.and_then(|class| class.call1((code, message))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Return the value of a key that an authority must have.
fn value<'py, T>(authority: &Bound<'py, PyDict>, key: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
{
    let found = authority.get_item(key)?;
    let found = found.ok_or_else(|| raise(authority.py(), "ConfigError", &format!("an authority lacks {key}")))?;
    found.extract().map_err(Into::into)
}

fn digest(py: Python<'_>, bytes: &[u8], what: &str) -> PyResult<Digest> {
    bytes.try_into().map_err(|_| raise(py, "ArgumentError", &format!("{what} is a SHA-256: wanted 32 bytes")))
}

fn authority(authority: &Bound<'_, PyDict>) -> PyResult<AuthorityConfig> {
    let py = authority.py();
    let name: String = value(authority, "name")?;
    let wrong = |what: &str| raise(py, "ConfigError", &format!("authority {name}: {what}"));
    let kind: String = value(authority, "kind")?;
    let vouching = match &*kind {
        "x509" => Vouching::X509(value(authority, "anchors")?),
        "spiffe" => Vouching::Spiffe(value::<BTreeMap<String, Vec<Vec<u8>>>>(authority, "trust_domains")?),
        _ => return Err(wrong(&format!("{kind:?} is no kind of authority: wanted \"x509\" or \"spiffe\""))),
    };
    let revocation = match value::<Option<String>>(authority, "revocation")?.as_deref() {
        Some("required") => RevocationPolicy::Required,
        Some("if-present") => RevocationPolicy::IfPresent,
        None => RevocationPolicy::WhereNamed,
        Some(other) => {
            return Err(wrong(&format!("revocation is \"required\" or \"if-present\", or left out, not {other:?}")));
        }
    };
    let pins: Vec<Vec<u8>> = value(authority, "pins")?;
    let pins = pins.iter().map(|pin| digest(py, pin, "a pin")).collect::<PyResult<_>>()?;
    Ok(AuthorityConfig {
        vouching,
        intermediates: value(authority, "intermediates")?,
        crls: value(authority, "crls")?,
        revocation,
        pins,
        max_age_s: value(authority, "max_age_s")?,
        name,
    })
}

fn spiffe<'py>(py: Python<'py>, id: Option<&SpiffeId>) -> PyResult<Option<Bound<'py, PyDict>>> {
    id.map(|id| {
        let dict = PyDict::new(py);
        dict.set_item("trust_domain", &id.trust_domain)?;
        dict.set_item("path", &id.path)?;
        Ok(dict)
    })
    .transpose()
}

/// Put what a certificate says into a dict, by the names that rules use.
fn describe(dict: &Bound<'_, PyDict>, certificate: &Certificate) -> PyResult<()> {
    dict.set_item("subject", &certificate.attributes)?;
    dict.set_item("issuer", &certificate.issuer_text)?;
    dict.set_item("serial", certificate.serial_text())?;
    dict.set_item("dns", &certificate.names.dns)?;
    dict.set_item("uri", &certificate.names.uri)?;
    dict.set_item("email", &certificate.names.email)?;
    dict.set_item("ip", &certificate.names.ip)
}

fn proof<'py>(py: Python<'py>, proved: &Proved) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let grounds: Vec<(&str, Bound<'py, PyBytes>)> =
        proved.grounds.iter().map(|ground| (ground.kind.name(), PyBytes::new(py, &ground.digest))).collect();
    dict.set_item("authority", &proved.authority)?;
    dict.set_item("not_before_ns", proved.not_before_ns)?;
    dict.set_item("not_after_ns", proved.not_after_ns)?;
    dict.set_item("bound_by", proved.bound_by.name())?;
    dict.set_item("grounds", grounds)?;
    describe(&dict, &proved.leaf)?;
    dict.set_item("spiffe", spiffe(py, proved.spiffe.as_ref())?)?;
    dict.set_item("path", &proved.path)?;
    Ok(dict)
}

/// One configuration of authorities.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Verifier(ztfast_identity::Verifier);

#[pymethods]
impl Verifier {
    /// Make a verifier. Raises `ConfigError` for what cannot be used.
    #[new]
    #[pyo3(signature = (authorities, *, threads = 2, queue = 1024))]
    fn new(py: Python<'_>, authorities: Vec<Bound<'_, PyDict>>, threads: usize, queue: usize) -> PyResult<Self> {
        let configs = authorities.iter().map(authority).collect::<PyResult<Vec<_>>>()?;
        let made = py.detach(|| ztfast_identity::Verifier::new(configs, threads, queue));
        made.map(Self).map_err(|error| raise(py, "ConfigError", &error.to_string()))
    }

    /// Return what a chain of certificates in DER proves. With the name of a server, its certificate is wanted instead
    /// of a client's. Raises `CredentialError`.
    #[pyo3(signature = (authority, chain, now_ns, stapled = None, *, server_name = None))]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        authority: Option<String>,
        chain: Vec<PyBackedBytes>,
        now_ns: i64,
        stapled: Option<(Vec<u8>, i64)>,
        server_name: Option<String>,
    ) -> PyResult<Bound<'py, PyDict>> {
        ztfast_identity::check_sizes(&chain).map_err(|refusal| refused(py, &refusal))?;
        let stapled = stapled.map(|(key, until)| Ok::<_, PyErr>((digest(py, &key, "the OCSP issuer's key")?, until)));
        let chain = chain.iter().map(|one| one.to_vec()).collect();
        let request = Request { authority, chain, now_ns, stapled: stapled.transpose()?, server: server_name };
        let proved = py.detach(|| self.0.verify(request)).map_err(|refusal| refused(py, &refusal))?;
        proof(py, &proved)
    }

    /// 64 bits of a hash over the configuration.
    #[getter]
    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// Return how many credentials were verified, how many refusals were repeated, and how many were refused by code.
    fn counters(&self, py: Python<'_>) -> BTreeMap<&'static str, u64> {
        py.detach(|| self.0.counters())
    }
}

/// Return whether the holder of a key in DER signed a message. Raises `ArgumentError` for an unknown scheme.
#[pyfunction]
pub(crate) fn verify_signature(
    py: Python<'_>,
    scheme: &str,
    spki: PyBackedBytes,
    message: PyBackedBytes,
    signature: PyBackedBytes,
) -> PyResult<bool> {
    let verified = py.detach(|| ztfast_identity::verify_signature(scheme, &spki, &message, &signature));
    verified.map_err(|error| raise(py, "ArgumentError", &error.to_string()))
}

/// Return what a certificate in DER says, without verifying anything. Raises `CredentialError`.
#[pyfunction]
pub(crate) fn inspect_certificate(py: Python<'_>, der: PyBackedBytes) -> PyResult<Bound<'_, PyDict>> {
    let read = Certificate::parse(&der).map_err(|what| refused(py, &Refusal::Malformed { number: 1, what }))?;
    let dict = PyDict::new(py);
    describe(&dict, &read)?;
    dict.set_item("spiffe", spiffe(py, spiffe_id(&read).as_ref())?)?;
    dict.set_item("certificate", PyBytes::new(py, &read.digest))?;
    dict.set_item("key", PyBytes::new(py, &read.key))?;
    dict.set_item("issuer_digest", PyBytes::new(py, &sha256(&read.issuer)))?;
    dict.set_item("not_before_ns", read.begin_ns())?;
    dict.set_item("not_after_ns", read.end_ns())?;
    Ok(dict)
}
