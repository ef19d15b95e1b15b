package istio

import (
	"strings"
	"testing"
)

const authentication = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: minted, namespace: api-namespace}
spec:
  jwtRules:
  - issuer: ambassador-jwt-issuer
    forwardOriginalToken: true
`

// policy is an AuthorizationPolicy of one rule.
func policy(rule string) string {
	return "\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: api-namespace}\nspec: {selector: {matchLabels: {app: api}}, rules: [" + rule + "]}\n"
}

func claims() map[string]any {
	return map[string]any{
		"iss": "ambassador-jwt-issuer", "sub": "alice", "aud": []any{"api-service.api-namespace", "webapp.frontend"}, "azp": "web",
		"scope": "read write", "permissions": []any{"orders:read"}, "level": 3.0, "department": "Sales West",
		"realm_access": map[string]any{"roles": []any{"admin"}},
	}
}

func TestJudge(t *testing.T) {
	rows := []struct {
		name, rule string
		want       bool
		because    string
		beside     string
	}{
		{"the issuer", `{when: [{key: "request.auth.claims[iss]", values: [ambassador-jwt-issuer]}]}`, true, "", ""},
		{"another issuer", `{when: [{key: "request.auth.claims[iss]", values: [other]}]}`, false, `asked to be one of ["other"], and is ["ambassador-jwt-issuer"]`, ""},
		{"the principal", `{from: [{source: {requestPrincipals: ["ambassador-jwt-issuer/alice"]}}]}`, true, "", ""},
		{"anybody of the issuer", `{from: [{source: {requestPrincipals: ["ambassador-jwt-issuer/*"]}}]}`, true, "", ""},
		{"anybody", `{from: [{source: {requestPrincipals: ["*"]}}]}`, true, "", ""},
		{"the subject of any issuer", `{from: [{source: {requestPrincipals: ["*/alice"]}}]}`, true, "", ""},
		{"somebody else", `{from: [{source: {requestPrincipals: ["ambassador-jwt-issuer/bob"]}}]}`, false, "request.auth.principal", ""},
		{"not alice", `{from: [{source: {notRequestPrincipals: ["*/alice"]}}]}`, false, "none of", ""},
		{"one of two sources", `{from: [{source: {requestPrincipals: ["x/y"]}}, {source: {requestPrincipals: ["*"]}}]}`, true, "", ""},
		{"an audience", `{when: [{key: request.auth.audiences, values: [webapp.frontend]}]}`, true, "", ""},
		{"the presenter", `{when: [{key: request.auth.presenter, values: [web]}]}`, true, "", ""},
		{"one of the scopes", `{when: [{key: "request.auth.claims[scope]", values: [write]}]}`, true, "", ""},
		{"one of the permissions", `{when: [{key: "request.auth.claims[permissions]", values: ["orders:*"]}]}`, true, "", ""},
		{"other texts are not split", `{when: [{key: "request.auth.claims[department]", values: [Sales]}]}`, false, "Sales West", ""},
		{"a nested claim", `{when: [{key: "request.auth.claims[realm_access][roles]", values: [admin]}]}`, true, "", ""},
		{"a number never matches", `{when: [{key: "request.auth.claims[level]", values: ["3"]}]}`, false, "and is []", ""},
		{"a claim that is not there", `{when: [{key: "request.auth.claims[team]", notValues: [x]}]}`, true, "", ""},
		{"all conditions", `{when: [{key: "request.auth.claims[iss]", values: ["*"]}, {key: "request.auth.claims[team]", values: ["*"]}]}`, false, "team", ""},
		{"what is not about the token", `{from: [{source: {principals: ["cluster.local/ns/a/sa/b"]}}], to: [{operation: {methods: [GET]}}]}`, true, "", "principals"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			var p Policies
			if err := p.Read("in.yaml", strings.NewReader(authentication+policy(r.rule))); err != nil {
				t.Fatal(err)
			}
			list := p.Judge(claims())
			if len(list) != 2 || !list[0].Satisfied || len(list[0].Warnings) > 0 {
				t.Fatalf("got %+v", list)
			}
			v := list[1]
			if v.Satisfied != r.want || !strings.Contains(v.Because, r.because) || !strings.Contains(strings.Join(v.Beside, " "), r.beside) {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestJudgeAuthentication(t *testing.T) {
	rows := []struct {
		name, rule string
		want       bool
		because    string
		warning    string
	}{
		{"the issuer", `{issuer: ambassador-jwt-issuer, forwardOriginalToken: true}`, true, "", ""},
		{"an audience of several", `{issuer: ambassador-jwt-issuer, audiences: [x, webapp.frontend], forwardOriginalToken: true}`, true, "", ""},
		{"another issuer", `{issuer: other}`, false, `issuer is "other"`, ""},
		{"another audience", `{issuer: ambassador-jwt-issuer, audiences: [x]}`, false, "audiences are", ""},
		{"the token ends at the sidecar", `{issuer: ambassador-jwt-issuer}`, true, "", "forwardOriginalToken"},
		{"another header", `{issuer: ambassador-jwt-issuer, forwardOriginalToken: true, fromHeaders: [{name: x-token}]}`, true, "", "elsewhere"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			var p Policies
			text := "apiVersion: security.istio.io/v1beta1\nkind: RequestAuthentication\nmetadata: {name: r}\nspec: {jwtRules: [" + r.rule + "]}\n"
			if err := p.Read("in.yaml", strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			v := p.Judge(claims())[0]
			if v.Satisfied != r.want || !strings.Contains(v.Because, r.because) || !strings.Contains(strings.Join(v.Warnings, " "), r.warning) || r.warning == "" && len(v.Warnings) > 0 {
				t.Errorf("got %+v", v)
			}
		})
	}
}

// A condition on claims holds for nobody whose token no RequestAuthentication takes.
func TestJudgeWithoutAuthentication(t *testing.T) {
	rule := `{when: [{key: "request.auth.claims[iss]", values: [ambassador-jwt-issuer]}]}`
	rows := []struct {
		name, text string
		want       bool
	}{
		{"none", policy(rule), false},
		{"in another namespace", strings.Replace(authentication, "api-namespace", "other", 1) + policy(rule), false},
		{"for other workloads", strings.Replace(authentication, "spec:", "spec:\n  selector: {matchLabels: {app: web}}", 1) + policy(rule), false},
		{"for these workloads", strings.Replace(authentication, "spec:", "spec:\n  selector: {matchLabels: {app: api}}", 1) + policy(rule), true},
		{"for the whole mesh", strings.Replace(authentication, "api-namespace", "istio-system", 1) + policy(rule), true},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			var p Policies
			if err := p.Read("in.yaml", strings.NewReader(r.text)); err != nil {
				t.Fatal(err)
			}
			list := p.Judge(claims())
			if got := list[len(list)-1]; got.Satisfied != r.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}
