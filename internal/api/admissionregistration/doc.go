// Package admissionregistration holds the rows of admissionregistration.k8s.io:
// webhook configurations, admission policies and their bindings. It judges
// their rules and compiles their expressions to see that they can be used; it
// evaluates nothing.
//
// Pure but for one cache: the environment expressions are compiled in is costly
// and made at the first expression. Tests are tables; test/oracle compares with
// upstream.
//
// Reading the parameters a policy names needs the right to read them; that is
// the pipeline's to ask.
package admissionregistration
