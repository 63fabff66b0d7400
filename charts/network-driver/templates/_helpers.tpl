{{- define "network-driver.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "network-driver.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "network-driver.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "network-driver.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "network-driver.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "network-driver.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "network-driver.fullname" .) }}
{{- end }}

{{- define "network-driver.selectorLabels" -}}
app.kubernetes.io/name: {{ include "network-driver.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node-agent
{{- end }}

{{- define "network-driver.labels" -}}
{{ include "network-driver.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: network-driver
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Metadata of an object: (list $ suffix namespaced more-labels more-annotations) */}}
{{- define "network-driver.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "network-driver.fullname" $root }}{{ index . 1 }}
{{- if index . 2 }}
namespace: {{ include "network-driver.namespace" $root }}
{{- end }}
labels:
  {{- toYaml (mergeOverwrite (fromYaml (include "network-driver.labels" $root)) (index . 3)) | nindent 2 }}
{{- with merge (dict) (index . 4) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Image of a component: (list $ component values) */}}
{{- define "network-driver.image" -}}
{{- $root := index . 0 -}}
{{- $image := mergeOverwrite (deepCopy $root.Values.image) (index . 2).image -}}
{{- $name := printf "%s/%s" $image.repository ($image.name | default (index . 1)) -}}
{{- if $image.registry }}{{ $name = printf "%s/%s" $image.registry $name }}{{ end -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Newest version of resource.k8s.io that the server serves */}}
{{- define "network-driver.resourceApi" -}}
{{- $api := "v1" -}}
{{- if not (.Capabilities.APIVersions.Has "resource.k8s.io/v1") -}}
{{- range list "v1alpha3" "v1beta1" "v1beta2" -}}
{{- if $.Capabilities.APIVersions.Has (printf "resource.k8s.io/%s" .) }}{{ $api = . }}{{ end -}}
{{- end -}}
{{- end -}}
resource.k8s.io/{{ $api }}
{{- end }}

{{/* What the three containers have in common: (list $ component values) */}}
{{- define "network-driver.container" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
{{- $log := mergeOverwrite (deepCopy $root.Values.log) $values.log -}}
{{- $bind := $root.Values.metrics.bindAddress -}}
- name: {{ $component }}
  image: {{ include "network-driver.image" . }}
  imagePullPolicy: {{ $values.image.pullPolicy | default $root.Values.image.pullPolicy }}
  {{- with $values.extraArgs }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  {{- with $values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.resizePolicy }}
  resizePolicy:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  ports:
    - name: {{ $component }}
      containerPort: {{ $values.port }}
  {{- range $probe, $path := dict "startupProbe" "/livez" "livenessProbe" "/livez" "readinessProbe" "/readyz" }}
  {{ $probe }}:
    httpGet:
      {{- if ne $bind "nodeIP" }}
      host: 127.0.0.1
      {{- end }}
      path: {{ $path }}
      port: {{ $component }}
    {{- toYaml (get $values $probe) | nindent 4 }}
  {{- end }}
  env:
    - name: NODE_NAME
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    - name: NETWORK_DRIVER_DRIVER_NAME
      value: {{ $root.Values.driverName }}
    - name: NETWORK_DRIVER_BUS_DIR
      value: /run/network-driver-bus
    - name: NETWORK_DRIVER_LOG_LEVEL
      value: {{ $log.level | quote }}
    - name: NETWORK_DRIVER_LOG_FORMAT
      value: {{ $log.format }}
    {{- if eq $bind "nodeIP" }}
    - name: NODE_IP
      valueFrom: {fieldRef: {fieldPath: status.hostIP}}
    {{- end }}
    - name: NETWORK_DRIVER_HTTP_ADDRESS
      {{- if eq $bind "nodeIP" }}
      value: $(NODE_IP):{{ $values.port }}
      {{- else if contains ":" $bind }}
      value: {{ printf "[%s]:%v" $bind $values.port | quote }}
      {{- else }}
      value: {{ $bind }}:{{ $values.port }}
      {{- end }}
    {{- with $root.Values.otel }}
    {{- if .endpoint }}
    - name: OTEL_EXPORTER_OTLP_ENDPOINT
      value: {{ .endpoint }}
    {{- with .sampler }}
    - name: OTEL_TRACES_SAMPLER
      value: {{ . }}
    {{- end }}
    {{- with .samplerArg }}
    - name: OTEL_TRACES_SAMPLER_ARG
      value: {{ . | quote }}
    {{- end }}
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - name: POD_UID
      valueFrom: {fieldRef: {fieldPath: metadata.uid}}
    - name: OTEL_RESOURCE_ATTRIBUTES
      value: k8s.namespace.name={{ include "network-driver.namespace" $root }},k8s.daemonset.name={{ include "network-driver.fullname" $root }},k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.container.name={{ $component }},service.instance.id=$(POD_UID)/{{ $component }}
      {{- range $name, $value := .resourceAttributes }},{{ $name }}={{ $value }}{{ end }}
    {{- end }}
    {{- end }}
{{- end }}

{{/* Where nri-hook meets the runtime and keeps its state; preflight looks at the same places */}}
{{- define "network-driver.hookEnv" -}}
- name: NETWORK_DRIVER_NRI_SOCKET
  value: {{ .Values.nri.socketPath }}
- name: NETWORK_DRIVER_NRI_PLUGIN_NAME
  value: {{ .Values.nri.pluginName | quote }}
- name: NETWORK_DRIVER_NRI_PLUGIN_INDEX
  value: {{ .Values.nri.pluginIndex | quote }}
- name: NETWORK_DRIVER_CDI_DIR
  value: {{ .Values.cdi.dir }}
- name: NETWORK_DRIVER_STATE_DIR
  value: {{ .Values.nriHook.stateDir }}
{{- if .Values.gate.startHook }}
- name: NETWORK_DRIVER_START_HOOK_DIR
  value: {{ .Values.gate.startHookDir }}
{{- end }}
{{- if .Values.gate.cdiConfirmed }}
- name: NETWORK_DRIVER_CDI_CONFIRMED
  value: "true"
{{- end }}
{{- end }}

{{/* Looks at the node as nri-hook's user sees it, with no capability at all */}}
{{- define "network-driver.preflight" -}}
{{- $context := set (omit .Values.nriHook.securityContext "capabilities") "capabilities" (dict "drop" (list "ALL")) -}}
- name: preflight
  image: {{ include "network-driver.image" (list . "nri-hook" .Values.nriHook) }}
  imagePullPolicy: {{ .Values.nriHook.image.pullPolicy | default .Values.image.pullPolicy }}
  args: [preflight]
  securityContext:
    {{- toYaml $context | nindent 4 }}
  {{- with .Values.nriHook.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  env:
    {{- include "network-driver.hookEnv" . | nindent 4 }}
    - name: NETWORK_DRIVER_KUBELET_ROOT_DIR
      value: {{ .Values.kubelet.rootDir }}
    - name: NETWORK_DRIVER_RECORDS_DIR
      value: {{ .Values.draPlugin.stateDir }}
  volumeMounts:
    - {name: nri, mountPath: {{ dir .Values.nri.socketPath }}}
    - {name: cdi, mountPath: {{ .Values.cdi.dir }}}
    - {name: links, mountPath: {{ .Values.nriHook.stateDir }}}
    - {name: link-settings, mountPath: /host/proc/sys/net}
    - {name: records, mountPath: {{ .Values.draPlugin.stateDir }}}
    - {name: kubelet-registry, mountPath: {{ .Values.kubelet.rootDir }}/plugins_registry, readOnly: true}
    {{- if .Values.gate.startHook }}
    - {name: start-hook, mountPath: {{ .Values.gate.startHookDir }}}
    {{- end }}
{{- end }}
