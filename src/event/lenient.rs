use serde::{Deserialize, Deserializer};

/// Reads `null` as an empty value, as Go does.
pub(super) fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(super) fn is_zero(number: &i64) -> bool {
    *number == 0
}
