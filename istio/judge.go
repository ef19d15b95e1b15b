package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Verdict is what a token is to one rule.
type Verdict struct {
	Object    string   `json:"object"`           // "AuthorizationPolicy api-service-authz.api-namespace"
	Rule      string   `json:"rule"`             // "jwtRules[0]"
	Action    string   `json:"action,omitempty"` // of an AuthorizationPolicy
	Satisfied bool     `json:"satisfied"`        // as far as it is about the token
	Because   string   `json:"because,omitempty"`
	Beside    []string `json:"beside,omitempty"` // what the rule asks for that is not about the token
	Warnings  []string `json:"warnings,omitempty"`
}

// Judge returns what a token of these claims, verified, is to every rule of p.
func (p *Policies) Judge(claims map[string]any) []Verdict {
	list := []Verdict{}
	for i := range p.Authentications {
		a := &p.Authentications[i]
		for j := range a.Rules {
			list = append(list, a.judge(j, claims))
		}
	}
	for i := range p.Authorizations {
		a := &p.Authorizations[i]
		if len(a.Rules) == 0 {
			v := Verdict{Object: "AuthorizationPolicy " + a.String(), Action: a.Action, Because: "it has no rules, so that nothing satisfies it"}
			list = append(list, v)
		}
		for j := range a.Rules {
			list = append(list, p.authorize(a, j, claims))
		}
	}
	return list
}

// judge says whether a's workloads take the token by rule n.
func (a *Authentication) judge(n int, claims map[string]any) Verdict {
	r := &a.Rules[n]
	v := Verdict{Object: "RequestAuthentication " + a.String(), Rule: fmt.Sprintf("jwtRules[%d]", n)}
	issuer, _ := claims["iss"].(string)
	audiences := valuesOf(claims["aud"])
	switch {
	case r.Issuer != issuer:
		v.Because = fmt.Sprintf("issuer is %q, the token's %q", r.Issuer, issuer)
		return v
	case len(r.Audiences) > 0 && !slices.ContainsFunc(audiences, func(s string) bool { return slices.Contains(r.Audiences, s) }):
		v.Because = fmt.Sprintf("audiences are %q, the token's %q", r.Audiences, audiences)
		return v
	}
	v.Satisfied = true
	if !r.Forward {
		v.Warnings = append(v.Warnings, "forwardOriginalToken is false: the sidecar takes the token away, and the application gets none")
	}
	if len(r.Params) > 0 || len(r.Headers) > 0 && !slices.ContainsFunc(r.Headers, func(h struct {
		Name string `yaml:"name"`
	},
	) bool {
		return strings.EqualFold(h.Name, "authorization")
	}) {
		v.Warnings = append(v.Warnings, "the token is looked for elsewhere than in Authorization, where the gateway puts it")
	}
	return v
}

// authorize says whether the token satisfies rule n of a.
func (p *Policies) authorize(a *Authorization, n int, claims map[string]any) Verdict {
	r := &a.Rules[n]
	v := Verdict{Object: "AuthorizationPolicy " + a.String(), Rule: fmt.Sprintf("rules[%d]", n), Action: a.Action, Satisfied: true}
	rule, understood := p.understands(&a.Object, claims)
	attributes := attributesOf(claims, rule)
	asks := false
	if len(r.From) > 0 {
		v.from(r, attributes, &asks)
	}
	for _, o := range r.To {
		v.Beside = append(v.Beside, "to: "+shown(o.Operation))
	}
	for _, c := range r.When {
		if !strings.HasPrefix(c.Key, "request.auth.") {
			v.Beside = append(v.Beside, "when: "+c.Key)
			continue
		}
		asks = true
		if why := c.fails(attributes(c.Key)); why != "" && v.Satisfied {
			v.Satisfied, v.Because = false, why
		}
	}
	if asks && !understood {
		v.Satisfied = false
		v.Because = "no RequestAuthentication of the workload takes the token, so that nothing is known of its claims"
	}
	return v
}

// from judges the sources of a rule, of which one is enough.
func (v *Verdict) from(r *Rule, attributes func(string) []string, asks *bool) {
	held, why := false, ""
	for _, f := range r.From {
		ok := true
		for _, name := range slices.Sorted(maps.Keys(f.Source)) {
			var c Condition
			switch name {
			case "requestPrincipals":
				c = Condition{Key: "request.auth.principal", Values: f.Source[name]}
			case "notRequestPrincipals":
				c = Condition{Key: "request.auth.principal", NotValues: f.Source[name]}
			default:
				v.Beside = append(v.Beside, fmt.Sprintf("from: %s %q", name, f.Source[name]))
				continue
			}
			*asks = true
			if failed := c.fails(attributes(c.Key)); failed != "" {
				ok, why = false, failed
			}
		}
		held = held || ok
	}
	if !held {
		v.Satisfied, v.Because = false, why
	}
}

// understands returns the rule by which the workloads of o take the token.
func (p *Policies) understands(o *Object, claims map[string]any) (*JWTRule, bool) {
	for i := range p.Authentications {
		a := &p.Authentications[i]
		if a.Namespace != o.Namespace && a.Namespace != rootNamespace || !within(a.Selector, o.Selector) {
			continue
		}
		for j := range a.Rules {
			if a.judge(j, claims).Satisfied {
				return &a.Rules[j], true
			}
		}
	}
	return nil, false
}

// rootNamespace is where policies are for the whole mesh.
const rootNamespace = "istio-system"

// within reports whether all workloads with the labels of inner have those of outer.
func within(outer, inner map[string]string) bool {
	for name, value := range outer {
		if inner[name] != value {
			return false
		}
	}
	return true
}

// fails says why the values of an attribute do not satisfy c, "" if they do.
func (c *Condition) fails(values []string) string {
	anyOf := func(patterns []string) bool {
		return slices.ContainsFunc(values, func(v string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, v) })
		})
	}
	switch {
	case len(c.Values) > 0 && !anyOf(c.Values):
		return fmt.Sprintf("%s is asked to be one of %q, and is %q", c.Key, c.Values, values)
	case len(c.NotValues) > 0 && anyOf(c.NotValues):
		return fmt.Sprintf("%s is asked to be none of %q, and is %q", c.Key, c.NotValues, values)
	}
	return ""
}

// matches compares as Istio does: exactly, or with one star at an end; a star alone stands
// for anything that is there.
func matches(pattern, value string) bool {
	switch {
	case pattern == "*":
		return value != ""
	case strings.HasPrefix(pattern, "*"):
		return strings.HasSuffix(value, pattern[1:])
	case strings.HasSuffix(pattern, "*"):
		return strings.HasPrefix(value, pattern[:len(pattern)-1])
	}
	return pattern == value
}

// attributesOf tells the values of attributes of a request with a token of these claims.
// rule is the one that took it, nil for none.
func attributesOf(claims map[string]any, rule *JWTRule) func(key string) []string {
	split := []string{"scope", "permission"} // that Istio splits at spaces by itself
	if rule != nil {
		split = append(split, rule.SpaceDelimited...)
	}
	return func(key string) []string {
		switch key {
		case "request.auth.principal":
			issuer, _ := claims["iss"].(string)
			subject, _ := claims["sub"].(string)
			if issuer == "" || subject == "" {
				return nil
			}
			return []string{issuer + "/" + subject}
		case "request.auth.audiences":
			return valuesOf(claims["aud"])
		case "request.auth.presenter":
			return valuesOf(claims["azp"])
		}
		path, ok := claimPath(key)
		if !ok {
			return nil
		}
		var at any = claims
		for _, name := range path {
			object, _ := at.(map[string]any)
			at = object[name]
		}
		if text, ok := at.(string); ok && slices.Contains(split, path[len(path)-1]) {
			return strings.Fields(text)
		}
		return valuesOf(at)
	}
}

// claimPath takes "request.auth.claims[a][b]" apart.
func claimPath(key string) ([]string, bool) {
	rest, ok := strings.CutPrefix(key, "request.auth.claims[")
	if !ok || !strings.HasSuffix(rest, "]") {
		return nil, false
	}
	return strings.Split(strings.TrimSuffix(rest, "]"), "]["), true
}

// valuesOf are the texts of a claim. Istio compares neither numbers nor booleans.
func valuesOf(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, item := range v {
			if text, ok := item.(string); ok {
				list = append(list, text)
			}
		}
		return list
	}
	return nil
}

func shown(fields map[string][]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, fmt.Sprintf("%s %q", name, fields[name]))
	}
	return strings.Join(parts, ", ")
}
