//! The calls of NVML that `nvml-wrapper` does not make: a field of a [`Scope`], and init again.
//!
//! Its `field_values_for` leaves the scope at 0, so that of a superchip's module and of a GPU's memory nothing is known
//! through it.

#![expect(unsafe_code, reason = "NVML is a C library, and these calls have no safe wrapper")]

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{
    nvmlFieldValue_t, nvmlReturn_enum_NVML_SUCCESS as SUCCESS, nvmlValue_t,
    nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE as DOUBLE,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT as SIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG as SIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG as UNSIGNED_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT as UNSIGNED_SHORT,
};

/// What part of the hardware a field is asked for.
///
/// The numbers are those of `NVML_POWER_SCOPE_…` in NVML 13.3's header; the prose above its list of fields calls scope 2
/// something else, and is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The GPU's board.
    Gpu = 0,
    /// A superchip's module: its GPUs and its processor.
    Module = 1,
    /// The GPU's memory, a part of the board.
    Memory = 2,
}

/// The value of a field, in the unit that NVML's header gives for it.
///
/// # Errors
/// What the driver says to the call or to the field; `UnexpectedVariant` for a value that is no whole number, or below 0.
pub(super) fn field(device: &Device<'_>, field: u32, scope: Scope) -> Result<u64, NvmlError> {
    let call = match &device.nvml().lib().nvmlDeviceGetFieldValues {
        Ok(call) => call,
        Err(missing) => return Err(NvmlError::FailedToLoadSymbol(missing.to_string())),
    };
    let mut asked = nvmlFieldValue_t {
        fieldId: field,
        scopeId: scope as u32,
        timestamp: 0,
        latencyUsec: 0,
        valueType: 0,
        nvmlReturn: SUCCESS,
        value: nvmlValue_t { ullVal: 0 },
    };
    // SAFETY: the handle is the driver's own, and NVML stays loaded while `device` lives, which borrows it.
    let handle = unsafe { device.handle() };
    // SAFETY: the function is the library's, of the type in NVML's header; it is given an array of one, which outlives
    // the call.
    let code = unsafe { call(handle, 1, &raw mut asked) };
    for code in [code, asked.nvmlReturn] {
        if code != SUCCESS {
            return Err(code.into());
        }
    }
    // SAFETY: every bit pattern is a whole number, and all of the union was set before the driver wrote its part.
    let bytes = unsafe { asked.value.ullVal }.to_ne_bytes();
    whole(asked.valueType, bytes).ok_or(NvmlError::UnexpectedVariant(asked.valueType))
}

/// Initialises the library again, after another part of the program has shut it down.
///
/// # Errors
/// What the driver says.
pub(super) fn init_again(nvml: &Nvml) -> Result<(), NvmlError> {
    let init = match &nvml.lib().nvmlInit_v2 {
        Ok(init) => init,
        Err(missing) => return Err(NvmlError::FailedToLoadSymbol(missing.to_string())),
    };
    // SAFETY: the function is the library's, of the type in NVML's header. It counts its calls; the one more is never
    // taken back, since the library stays initialised to the end of the process.
    match unsafe { init() } {
        SUCCESS => Ok(()),
        code => Err(code.into()),
    }
}

/// The whole number of this `nvmlValueType_t` at the beginning of a value's bytes; `None` if there is none, or it is
/// below 0.
fn whole(kind: u32, bytes: [u8; 8]) -> Option<u64> {
    let [a, b, c, d, ..] = bytes;
    match kind {
        UNSIGNED_SHORT => Some(u16::from_ne_bytes([a, b]).into()),
        UNSIGNED_INT => Some(u32::from_ne_bytes([a, b, c, d]).into()),
        SIGNED_INT => i32::from_ne_bytes([a, b, c, d]).try_into().ok(),
        // C's `long` has four bytes on Windows.
        UNSIGNED_LONG if cfg!(windows) => Some(u32::from_ne_bytes([a, b, c, d]).into()),
        UNSIGNED_LONG | UNSIGNED_LONG_LONG => Some(u64::from_ne_bytes(bytes)),
        SIGNED_LONG_LONG => i64::from_ne_bytes(bytes).try_into().ok(),
        DOUBLE => rounded(f64::from_ne_bytes(bytes)),
        _ => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "guarded: not below 0, and `as` saturates"
)]
fn rounded(value: f64) -> Option<u64> {
    (value >= 0.0 && value.is_finite()).then(|| value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a value that the driver wrote into the front of a union of zeros.
    fn front(value: &[u8]) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..value.len()].copy_from_slice(value);
        bytes
    }

    #[test]
    fn each_type_of_value_is_its_number() {
        for (kind, value, number) in [
            (UNSIGNED_SHORT, front(&700_u16.to_ne_bytes()), Some(700)),
            (UNSIGNED_INT, front(&u32::MAX.to_ne_bytes()), Some(u64::from(u32::MAX))),
            (UNSIGNED_LONG_LONG, front(&u64::MAX.to_ne_bytes()), Some(u64::MAX)),
            (SIGNED_INT, front(&350_000_i32.to_ne_bytes()), Some(350_000)),
            (SIGNED_INT, front(&(-1_i32).to_ne_bytes()), None),
            (SIGNED_LONG_LONG, front(&i64::MIN.to_ne_bytes()), None),
            (DOUBLE, front(&2.5e3_f64.to_ne_bytes()), Some(2_500)),
            (DOUBLE, front(&f64::NAN.to_ne_bytes()), None),
            (DOUBLE, front(&(-1.0_f64).to_ne_bytes()), None),
            (7, [1; 8], None),
            (u32::MAX, [1; 8], None),
        ] {
            assert_eq!(whole(kind, value), number, "type {kind}");
        }
    }
}
