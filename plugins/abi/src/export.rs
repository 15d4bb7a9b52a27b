//! The plugin's side of loading: the one symbol a plugin exports.

/// Exports a plugin. `$kind` is a constant of `message::kind`; `$make` is a
/// `fn(HostHandle) -> Result<impl PluginCalls, message::Fault>`. Once in a library; authors use the macros of
/// `plugins/sdk`.
#[macro_export]
macro_rules! export_plugin {
    ($kind:expr, $make:expr) => {
        const _: () = {
            extern "C" fn instantiate(
                host: $crate::private::HostBox,
            ) -> $crate::private::Instantiated {
                $crate::private::instantiate(host, $make)
            }
            extern "C" fn module() -> $crate::private::ModuleResult {
                $crate::private::module(|| $crate::private::module_value($kind, instantiate))
            }
            // The name under which the loader looks (`private::SYMBOL`, compared by a test).
            // SAFETY: no other item of a plugin has this name, and `module` returns what `Module` refers to.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::private::LibHeader =
                // SAFETY: `module` makes its result from a `Module`.
                unsafe { $crate::private::header(module) };
        };
    };
}

/// What the macro needs by name. Not part of the interface.
pub mod private {
    #![allow(missing_docs, reason = "for the macro only")]

    use abi_stable::library::{CheckTypeLayout, RootModule};
    use abi_stable::prefix_type::PrefixTypeTrait;
    use abi_stable::std_types::{RResult, RVec};

    use crate::message::{Fault, encode};
    pub use crate::raw::HostBox;
    use crate::raw::{Module, ModuleValue, PluginBox, plugin_box};
    use crate::{HostHandle, MESSAGES, PluginCalls};
    pub use abi_stable::library::{LibHeader, RootModuleResult as ModuleResult};

    pub type Instantiated = RResult<PluginBox, RVec<u8>>;

    /// The symbol's name as the loader computes it.
    pub const SYMBOL: &str = abi_stable::library::ROOT_MODULE_LOADER_NAME;

    /// # Safety
    /// `module` must return a [`Module`].
    #[must_use]
    pub const unsafe fn header(module: extern "C" fn() -> ModuleResult) -> LibHeader {
        // SAFETY: the caller promises it.
        unsafe { LibHeader::from_constructor::<Module>(module, CheckTypeLayout::Yes) }
    }

    #[must_use]
    pub fn module(make: fn() -> Module) -> ModuleResult {
        abi_stable::library::__call_root_module_loader(make)
    }

    #[must_use]
    pub fn module_value(kind: u32, instantiate: extern "C" fn(HostBox) -> Instantiated) -> Module {
        let _ = Module::root_module_statics();
        ModuleValue {
            kind,
            messages: MESSAGES,
            instantiate,
        }
        .leak_into_prefix()
    }

    pub fn instantiate<T: PluginCalls>(
        host: HostBox,
        make: impl FnOnce(HostHandle) -> Result<T, Fault>,
    ) -> Instantiated {
        match make(HostHandle::new(host)) {
            Ok(plugin) => RResult::ROk(plugin_box(plugin)),
            Err(fault) => RResult::RErr(encode(&fault).into()),
        }
    }
}
