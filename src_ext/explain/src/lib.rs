//! Cedar beside an engine: explanations over the engine's store, with the changes made since the bundle was compiled,
//! and decisions for policies that the compiler leaves to Cedar.
//!
//! None of this is on the deciding side, except for bundles whose statistics count fallbacks.
#![forbid(unsafe_code)]

mod convert;
mod store;
mod values;

pub use convert::{entity_data, request_value};

use std::collections::HashMap;
use std::sync::Arc;
use ztfast_bundle::{ActionMeta, Bundle};
use ztfast_cedar::ir::{Datum, Uid};
use ztfast_cedar::{Answer, Authorizer, Mode, RequestError, Sources};
use ztfast_engine::{FallbackAnswer, Snapshot, UidRef};
use ztfast_vm::{EntityRef, Request};

/// Cedar over the policies and the schema from which a bundle was compiled.
pub struct Cedar {
    authorizer: Authorizer,
    /// The numbers of policies, by id.
    numbers: HashMap<String, u32>,
    bundle: Arc<Bundle>,
}

impl Cedar {
    /// Read the sources that a bundle contains.
    ///
    /// # Errors
    /// If the section is damaged, or does not contain sources.
    pub fn read(bundle: &Arc<Bundle>) -> Result<Self, String> {
        let sources = bundle.sources().map_err(|e| e.to_string())?;
        let sources: Sources = serde_json::from_slice(sources).map_err(|e| e.to_string())?;
        let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).map_err(|e| e.to_string())?;
        Ok(Self::of(bundle, loaded.authorizer))
    }

    /// Use sources that the compiler has already read.
    #[must_use]
    pub fn of(bundle: &Arc<Bundle>, authorizer: Authorizer) -> Self {
        let numbers = (0_u32..).map_while(|number| Some((bundle.policy_id(number)?.to_owned(), number))).collect();
        Self { authorizer, numbers, bundle: bundle.clone() }
    }

    /// Return Cedar's authorizer.
    #[must_use]
    pub const fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Return the bundle whose policies these are.
    #[must_use]
    pub const fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// Decide a request with Cedar over the store of a snapshot. A forbid that errs denies if the bundle says so.
    ///
    /// # Errors
    /// If Cedar cannot represent a uid or the context.
    pub fn answer(
        &self,
        snapshot: &Snapshot,
        principal: &Uid,
        action: &ActionMeta,
        resource: &Uid,
        context: &Datum,
    ) -> Result<Answer, RequestError> {
        let action = Uid::new(action.ty.as_str(), action.id.as_str());
        let store = |uid: &Uid| store::slice_entity(snapshot, uid);
        let answer = self.authorizer.authorize_over(principal, &action, resource, context, &store)?;
        let strict = self.bundle.meta().strict_errors;
        Ok(if strict { self.authorizer.with_strict_errors(answer) } else { answer })
    }
}

/// The fallback of an engine: decides by Cedar's own evaluator.
pub struct CedarFallback(pub Arc<Cedar>);

impl ztfast_engine::Fallback for CedarFallback {
    fn authorize(
        &self,
        snapshot: &Snapshot,
        action: u32,
        principal: UidRef<'_>,
        resource: UidRef<'_>,
        request: &Request<'_>,
        uid: &dyn Fn(EntityRef) -> Option<(String, String)>,
    ) -> Option<FallbackAnswer> {
        let cedar = &*self.0;
        let action = cedar.bundle.meta().actions.get(action as usize)?;
        let context = values::Values { snapshot, request, uid }.context(&action.context)?;
        let ir = |uid: UidRef<'_>| Uid::new(uid.ty, uid.id);
        let answer = cedar.answer(snapshot, &ir(principal), action, &ir(resource), &context).ok()?;
        let reasons: Option<Vec<u32>> = answer.reasons.iter().map(|id| cedar.numbers.get(&**id).copied()).collect();
        Some(FallbackAnswer {
            allow: answer.allow,
            reasons: reasons?,
            erred: answer.erred,
            permitted: answer.permitted,
        })
    }
}
