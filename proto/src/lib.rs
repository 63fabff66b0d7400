//! Wire types of every protocol the driver speaks, generated from the `.proto` files of this folder.
//!
//! | module | protocol | spoken with |
//! | --- | --- | --- |
//! | [`bus`] | `network_driver.bus.v1`, our own | the driver's other daemons |
//! | [`pluginregistration`] | kubelet plugin registration v1 | the kubelet |
//! | [`dra_v1`], [`dra_v1beta1`], [`dra_v1alpha3`] | kubelet DRA plugin | the kubelet |
//! | [`health_v1`], [`health_v1alpha1`] | kubelet DRA device health | the kubelet |
//! | [`nri`], [`ttrpc`] | NRI messages and their envelope | the container runtime |
//!
//! Only fields that the driver uses are declared; unknown ones are skipped when reading.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]

pub mod bus {
    tonic::include_proto!("network_driver.bus.v1");
}

pub mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}

pub mod dra_v1 {
    tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
}

pub mod dra_v1beta1 {
    tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1beta1");
}

pub mod dra_v1alpha3 {
    tonic::include_proto!("v1alpha3");
}

pub mod health_v1 {
    tonic::include_proto!("v1");
}

pub mod health_v1alpha1 {
    tonic::include_proto!("v1alpha1");
}

pub mod nri {
    tonic::include_proto!("nri.pkg.api.v1alpha1");
}

pub mod ttrpc {
    tonic::include_proto!("ttrpc");
}
