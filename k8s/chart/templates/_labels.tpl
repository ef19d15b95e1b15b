{{- define "legate.labels" -}}
app.kubernetes.io/name: legate
app.kubernetes.io/part-of: legate
{{- end }}
