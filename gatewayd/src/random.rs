//! Random bytes from the kernel (getrandom(2)); no pool of our own that a fork or a leak could repeat.

use crate::error::ApiError;

/// `N` random bytes.
///
/// # Errors
/// 500 when the kernel has none; nothing weaker is used instead.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| ApiError::internal("no random bytes to be had"))?;
    Ok(bytes)
}
