//! Compiles the .proto files without protoc. Files of different protocols share names (`api.proto`), so each is
//! compiled with a root of its own.

/// `(root folder, files)`.
const PROTOCOLS: [(&str, &[&str]); 9] = [
    (
        ".",
        &[
            "network_driver/bus/v1/inventory.proto",
            "network_driver/bus/v1/claims.proto",
            "network_driver/bus/v1/admin.proto",
        ],
    ),
    ("kubelet/pluginregistration/v1", &["api.proto"]),
    ("kubelet/dra/v1", &["api.proto"]),
    ("kubelet/dra/v1beta1", &["api.proto"]),
    ("kubelet/dra/v1alpha3", &["api.proto"]),
    ("kubelet/health/v1", &["api.proto"]),
    ("kubelet/health/v1alpha1", &["api.proto"]),
    ("nri/v1alpha1", &["api.proto"]),
    ("nri", &["ttrpc.proto"]),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (root, files) in PROTOCOLS {
        let descriptors = protox::compile(files, [root])?;
        tonic_prost_build::configure()
            // Maps in a stable order: records are compared byte for byte.
            .btree_map(".")
            .compile_fds(descriptors)?;
    }
    for folder in ["network_driver", "kubelet", "nri"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    Ok(())
}
