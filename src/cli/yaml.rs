//! YAML as it is printed.

use serde_json::Value;

/// YAML that stays the same from run to run: nothing is folded, so that differences show what changed.
pub fn of(value: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! {
        prefer_block_scalars: false,
        compact_list_indent: true,
    };
    Ok(serde_saphyr::to_string_with_options(value, options)?)
}
