{{- define "legate.sidecar" -}}
{{- if eq .Values.istio.sidecar "certificates" -}}
# What comes and goes does not pass the sidecar.
traffic.sidecar.istio.io/includeInboundPorts: ""
traffic.sidecar.istio.io/includeOutboundIPRanges: ""
# It writes its certificate, its key and the mesh's root there, again whenever they are renewed.
proxy.istio.io/config: |
  proxyMetadata:
    OUTPUT_CERTS: /etc/istio-output-certs
sidecar.istio.io/userVolumeMount: '[{"name": "istio-certs", "mountPath": "/etc/istio-output-certs"}]'
{{- else if eq .Values.istio.sidecar "mtls" -}}
# Clients reach the gateway's own listeners; only what it sends goes through the sidecar.
traffic.sidecar.istio.io/includeInboundPorts: ""
# The sidecar is there before the first request and after the last.
proxy.istio.io/config: |
  holdApplicationUntilProxyStarts: true
  terminationDrainDuration: 100s
{{- end }}
{{- end }}
