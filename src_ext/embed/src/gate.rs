//! Gates of an embedder: clones of a gate that Python has prepared.

use crate::batch::Batch;
use crate::code::{Code, Kind, Status};
use crate::table::{ANY_AGE, Api, Determining, MAX_ARGUMENTS, REMEMBERED, RawGate, RawValue, UNDECIDED, UNKNOWN_TEXT};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// Decides about one action, for one thread at a time: [`Send`], not [`Sync`]. [`Self::try_clone`] makes a gate for
/// another thread.
///
/// Values are in the order of the names that Python passed to `engine.prepare`, in the units of [`Kind`].
#[derive(Debug)]
pub struct Gate {
    api: &'static Api,
    /// The core's gate, owned by this value: from `gate_clone`, given to `gate_free` on drop.
    raw: NonNull<RawGate>,
}

// SAFETY: the core's gates are bound to no thread, and this one is used only through this value.
unsafe impl Send for Gate {}

/// What a policy asks the principal to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepUp<'g> {
    /// The names of the factors, with spaces between.
    pub factors: &'g str,
    /// How many seconds ago the proof may have been given.
    pub max_age: Option<u64>,
}

impl Gate {
    /// Clone a Python gate by its `gate.address`. The Python object is not needed afterwards.
    ///
    /// # Safety
    /// The address is 0, or `gate.address` of a `ztfast.Gate` that lives and that no other thread uses during the call:
    /// hold the GIL, or own the gate.
    ///
    /// # Errors
    /// [`Status::NULL`] for address 0; [`Status::STALE`] if the gate does not fit the bundle any more.
    pub unsafe fn clone_of(api: &'static Api, address: usize) -> Result<Self, Status> {
        let mut raw = ptr::null_mut();
        let original = ptr::with_exposed_provenance::<RawGate>(address);
        // SAFETY: the caller promises this of the address; `raw` is a local variable.
        Status(unsafe { (api.gate_clone)(original, &raw mut raw) }).ok()?;
        NonNull::new(raw).map(|raw| Self { api, raw }).ok_or(Status::NULL)
    }

    /// Make another gate of the same action and attributes, for another thread. This allocates and locks.
    ///
    /// # Errors
    /// [`Status::STALE`] if the gate does not fit the bundle any more.
    pub fn try_clone(&self) -> Result<Self, Status> {
        let mut raw = ptr::null_mut();
        // SAFETY: the gate lives, and no other thread uses it: this type is not `Sync`.
        Status(unsafe { (self.api.gate_clone)(self.raw.as_ptr(), &raw mut raw) }).ok()?;
        NonNull::new(raw).map(|raw| Self { api: self.api, raw }).ok_or(Status::NULL)
    }

    /// Make a gate of the same action without the attributes whose bits are set in `absent`, for requests in which they
    /// are absent. Its values are those of the other attributes. This allocates and locks: make the gate once, beside
    /// this one.
    ///
    /// # Errors
    /// [`Status::REQUIRED`] if one of these attributes is required; [`Status::STALE`].
    pub fn without(&self, absent: u64) -> Result<Self, Status> {
        let mut raw = ptr::null_mut();
        // SAFETY: as in `try_clone`.
        Status(unsafe { (self.api.gate_without)(self.raw.as_ptr(), absent, &raw mut raw) }).ok()?;
        NonNull::new(raw).map(|raw| Self { api: self.api, raw }).ok_or(Status::NULL)
    }

    /// Decide whether the session (`session.id`) may act on the resource (`resource.handle`): [`Code::ALLOW`], or the
    /// code of the denial.
    ///
    /// A wrong number of values is [`Code::CORRUPT`].
    #[inline]
    pub fn allows(&mut self, session: u64, resource: u64, values: &[i64]) -> Code {
        // SAFETY: the gate lives, and only this thread uses it; the values are a slice.
        Code(unsafe { (self.api.allows)(self.raw.as_ptr(), session, resource, values.as_ptr(), values.len()) })
    }

    /// Decide, and record the policies that determine the decision; [`Self::policy`] returns their ids.
    #[inline]
    pub fn decide(&mut self, session: u64, resource: u64, values: &[i64], determining: &mut Determining) -> Code {
        let (data, len) = (values.as_ptr(), values.len());
        // SAFETY: as in `allows`; the caller passes the struct exclusively.
        Code(unsafe { (self.api.decide)(self.raw.as_ptr(), session, resource, data, len, determining) })
    }

    /// Pass values and decide in one step, which is the quickest way if there are texts, entities, sets or addresses.
    /// Numbers of texts are of this bundle generation. `None` if nothing was decided: a value is not of its
    /// argument's type or there is no room for it, the generation is another one, there are more than 16 values, a
    /// bundle or a change came meanwhile, or a kill stops the action. Then [`Self::begin`] a call: its methods
    /// say what is wrong.
    #[inline]
    pub fn decide_values(
        &mut self,
        session: u64,
        resource: u64,
        values: &[Value<'_>],
        generation: u64,
        determining: Option<&mut Determining>,
    ) -> Option<Code> {
        let (data, len) = (values.as_ptr().cast(), values.len());
        let determining = determining.map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: as in `allows`; a value is a `RawValue` that points to what it borrows, or to nothing.
        let code = unsafe {
            (self.api.decide_values)(self.raw.as_ptr(), session, resource, data, len, generation, determining)
        };
        (code != UNDECIDED).then_some(Code(code))
    }

    /// Return the denial of a request with a value out of its attribute's range, which therefore has no number:
    /// [`Code::BAD_VALUE`], or the code that applies whatever the values are. This ends a call that was begun.
    pub fn refuse(&mut self, session: u64, resource: u64) -> Code {
        // SAFETY: as in `allows`.
        Code(unsafe { (self.api.refuse)(self.raw.as_ptr(), session, resource) })
    }

    /// Begin a call, before [`Self::text`] and [`Self::entity`]: they and the next decision use one bundle. In a gate
    /// whose arguments include texts or entities, each decision needs a call of its own, or it is [`Code::CORRUPT`]. If
    /// a text or an entity was refused, the decision is a denial, whatever values it is given.
    ///
    /// # Errors
    /// None that a gate of this type can meet.
    pub fn begin(&mut self) -> Result<(), Status> {
        // SAFETY: as in `allows`.
        Status(unsafe { (self.api.begin)(self.raw.as_ptr()) }).ok()
    }

    /// Return the number of a text in this call.
    ///
    /// # Errors
    /// [`Status::CAPACITY`] if the call brings more than 32 texts or 16 KiB that the bundle lacks.
    pub fn text(&mut self, text: &str) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: as in `allows`; the text is a slice, and `number` is a local variable.
        Status(unsafe { (self.api.text)(self.raw.as_ptr(), text.as_ptr(), text.len(), &raw mut number) }).ok()?;
        Ok(number)
    }

    /// Return the number of a text that the bundle holds, with or without a call. It is valid as long as
    /// [`Self::generation`] stays the same.
    ///
    /// # Errors
    /// [`Status::TEXT`] if the bundle holds no such text; then each call must pass it to [`Self::text`].
    pub fn literal(&self, text: &str) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.literal)(self.raw.as_ptr(), text.as_ptr(), text.len(), &raw mut number) }).ok()?;
        Ok(number)
    }

    /// Return the number of a handle's entity in this call, for the attribute at `place`.
    ///
    /// # Errors
    /// [`Status::TYPE`] if the attribute's entities have another type; [`Status::HANDLE`] if its type is enumerated and
    /// lacks the entity; [`Status::FOREIGN`] if the handle is another engine's; [`Status::STALE`]. The decision is then
    /// a denial.
    pub fn entity(&mut self, handle: u64, place: usize) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.entity)(self.raw.as_ptr(), handle, place, &raw mut number) }).ok()?;
        Ok(number)
    }

    /// Return the number of a set in this call, for the attribute at `place`. Elements are given as arguments of their
    /// type are: numbers, numbers from [`Self::text`] or [`Self::literal`], or handles of entities.
    ///
    /// # Errors
    /// As [`Self::entity`]; [`Status::CAPACITY`] if the call brings too many values. The decision is then a denial.
    pub fn set(&mut self, elements: &[i64], place: usize) -> Result<i64, Status> {
        let mut number = 0;
        let (raw, data, len) = (self.raw.as_ptr(), elements.as_ptr(), elements.len());
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.set)(raw, data, len, place, &raw mut number) }).ok()?;
        Ok(number)
    }

    /// Return the number of an IP address or range in this call.
    ///
    /// # Errors
    /// [`Status::HANDLE`] if the prefix is longer than the address; [`Status::CAPACITY`] if the call brings too many
    /// values. The decision is then a denial.
    pub fn address(&mut self, address: std::net::IpAddr, prefix: u8) -> Result<i64, Status> {
        let (mut bytes, mut number) = ([0; 16], 0);
        let len = match address {
            std::net::IpAddr::V4(address) => {
                bytes[..4].copy_from_slice(&address.octets());
                4
            }
            std::net::IpAddr::V6(address) => {
                bytes = address.octets();
                16
            }
        };
        // SAFETY: as in `text`; `bytes` is a local variable of at least `len` bytes.
        let status =
            unsafe { (self.api.address)(self.raw.as_ptr(), bytes.as_ptr(), len, prefix.into(), &raw mut number) };
        Status(status).ok()?;
        Ok(number)
    }

    /// Return the arguments' kinds, in their order.
    ///
    /// # Errors
    /// [`Status::STALE`] if the gate does not fit the bundle any more.
    pub fn kinds(&self) -> Result<Vec<Kind>, Status> {
        let (mut kinds, mut count) = ([0_u8; MAX_ARGUMENTS], 0_usize);
        // SAFETY: as in `allows`; the array is as long as the call says, and `count` is a local variable.
        let status = unsafe { (self.api.kinds)(self.raw.as_ptr(), kinds.as_mut_ptr(), MAX_ARGUMENTS, &raw mut count) };
        Status(status).ok()?;
        Ok(kinds.iter().take(count).map(|&kind| Kind::from_number(kind)).collect())
    }

    /// Return the kind of the elements of an argument that is a set.
    ///
    /// # Errors
    /// [`Status::TYPE`] for other arguments; [`Status::STALE`].
    pub fn element_kind(&self, place: usize) -> Result<Kind, Status> {
        let mut kind = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.element_kind)(self.raw.as_ptr(), place, &raw mut kind) }).ok()?;
        Ok(Kind::from_number(kind))
    }

    /// Return the id of a policy that [`Self::decide`] recorded.
    ///
    /// # Errors
    /// [`Status::POLICY`] if the bundle that the gate last used has no such policy.
    pub fn policy(&self, number: u32) -> Result<&str, Status> {
        let (mut id, mut len) = (ptr::null(), 0);
        // SAFETY: as in `allows`; `id` and `len` are local variables.
        Status(unsafe { (self.api.policy)(self.raw.as_ptr(), number, &raw mut id, &raw mut len) }).ok()?;
        // SAFETY: the table promises `len` bytes that stay valid until the next decision, which takes `&mut self`.
        let id = unsafe { std::slice::from_raw_parts(id, len) };
        std::str::from_utf8(id).map_err(|_| Status::UTF8)
    }

    /// Return what a policy that [`Self::decide`] recorded asks the principal to prove, if it asks for a step-up.
    ///
    /// # Errors
    /// [`Status::POLICY`] if the bundle that the gate last used has no such policy.
    pub fn step_up(&self, number: u32) -> Result<Option<StepUp<'_>>, Status> {
        let (mut factors, mut len, mut max_age) = (ptr::null(), 0, ANY_AGE);
        let (factors_out, len_out, max_age_out) = (&raw mut factors, &raw mut len, &raw mut max_age);
        // SAFETY: as in `policy`.
        Status(unsafe { (self.api.step_up)(self.raw.as_ptr(), number, factors_out, len_out, max_age_out) }).ok()?;
        if factors.is_null() {
            return Ok(None);
        }
        // SAFETY: as in `policy`.
        let factors = unsafe { std::slice::from_raw_parts(factors, len) };
        let factors = std::str::from_utf8(factors).map_err(|_| Status::UTF8)?;
        Ok(Some(StepUp { factors, max_age: Some(max_age).filter(|&seconds| seconds != ANY_AGE) }))
    }

    /// Return the bundle generation, which changes when the gate uses another bundle.
    ///
    /// # Errors
    /// None that a gate of this type can meet.
    pub fn generation(&self) -> Result<u64, Status> {
        let mut generation = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.generation)(self.raw.as_ptr(), &raw mut generation) }).ok()?;
        Ok(generation)
    }

    /// Take the newest bundle now, as the next decision would, and return its [`Self::generation`]. This ends a call
    /// that was begun.
    ///
    /// # Errors
    /// [`Status::STALE`] if the gate does not fit that bundle.
    pub fn refresh(&mut self) -> Result<u64, Status> {
        let mut generation = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.refresh)(self.raw.as_ptr(), &raw mut generation) }).ok()?;
        Ok(generation)
    }

    /// Give the time by which the gate's engine decides, in nanoseconds since the epoch, if it was opened with
    /// `clock="caller"`. The time never goes back; return the one that the engine has now.
    ///
    /// # Errors
    /// [`Status::CLOCK`] if the engine has another clock.
    pub fn set_time(&mut self, ns: i64) -> Result<i64, Status> {
        let mut shown = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.set_time)(self.raw.as_ptr(), ns, &raw mut shown) }).ok()?;
        Ok(shown)
    }

    /// Make a batch: many decisions by the newest bundle. This allocates.
    ///
    /// # Errors
    /// [`Status::PANIC`] if the core failed.
    pub fn batch(&mut self) -> Result<Batch, Status> {
        let mut raw = ptr::null_mut();
        // SAFETY: as in `allows`; `raw` is a local variable.
        Status(unsafe { (self.api.batch_begin)(self.raw.as_ptr(), &raw mut raw) }).ok()?;
        // SAFETY: the core made this batch for us, and nothing else owns it.
        NonNull::new(raw).map(|raw| unsafe { Batch::new(self.api, raw) }).ok_or(Status::NULL)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // SAFETY: the gate came from `gate_clone`, is owned here, and is not used after this.
        let freed = Status(unsafe { (self.api.gate_free)(self.raw.as_ptr()) });
        debug_assert_eq!(freed, Status::OK, "the core takes its gates back");
    }
}

/// A value of [`Gate::decide_values`].
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Value<'v>(RawValue, PhantomData<&'v [u8]>);

impl<'v> Value<'v> {
    fn pointing<T>(kind: Kind, data: &'v [T], number: i64) -> Self {
        // A value of more bytes than this is far too large.
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Self(RawValue { number, data: data.as_ptr().cast(), length, kind: kind as u32 }, PhantomData)
    }

    /// Pass a number, the handle of an entity, or a number from [`Gate::literal`].
    #[must_use]
    pub const fn number(number: i64) -> Self {
        Self(RawValue { number, data: ptr::null(), length: 0, kind: 0 }, PhantomData)
    }

    /// Pass a text.
    #[must_use]
    pub fn text(text: &'v str) -> Self {
        Self::pointing(Kind::String, text.as_bytes(), 0)
    }

    /// Pass a text of which [`Gate::literal`] said in this generation that the bundle lacks it.
    #[must_use]
    pub fn unknown_text(text: &'v str) -> Self {
        Self::pointing(Kind::String, text.as_bytes(), UNKNOWN_TEXT)
    }

    /// Pass an IP address of 4 or 16 bytes in network order, or a range.
    #[must_use]
    pub fn address(bytes: &'v [u8], prefix: u8) -> Self {
        Self::pointing(Kind::Address, bytes, prefix.into())
    }

    /// Pass a set of values that are no sets and no addresses.
    #[must_use]
    pub fn set(elements: &'v [Value<'v>]) -> Self {
        Self::pointing(Kind::Set, elements, 0)
    }

    /// Say that this text or set was or will be passed to this gate again, so that it may remember what is asked of it.
    /// A set, and a text that the bundle lacks, gets a number of the caller's own, above 0, which no other set or text
    /// has that is passed to this gate.
    #[must_use]
    pub fn remembered(mut self, own: u32) -> Self {
        if self.0.kind != 0 {
            self.0.number = own.into();
        }
        self.0.kind |= REMEMBERED;
        self
    }
}
