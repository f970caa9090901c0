#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may do what: certificates, tokens, roles, impersonation; health and metrics."""
import base64
import hashlib
import json
import os
import ssl
import subprocess

from server import ApiTest, Client, main

REVIEWS = "/apis/authorization.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def claims_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class Access(ApiTest):
    def as_user(self, user, *groups):
        """The administrator, being someone else."""
        client = Client(self.port, self.admin.context, {"Impersonate-User": user})
        client.headers["Impersonate-Group"] = ",".join(groups)
        if not groups:
            del client.headers["Impersonate-Group"]
        return client

    def account(self, name):
        answer = self.admin.post(self.path("serviceaccounts"), {"metadata": {"name": name}})
        self.assertEqual(answer.code, 201, answer.text)
        return answer.json

    def token(self, account, **spec):
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = self.admin.post(self.path("serviceaccounts", account) + "/token", body)
        self.assertEqual(answer.code, 201, answer.text)
        return answer.json["status"]["token"]

    def bearer(self, token):
        return self.anonymous(Authorization=f"Bearer {token}")

    def grant(self, subject, resources, verbs, **rule):
        rules = [dict({"apiGroups": [""], "resources": resources, "verbs": verbs}, **rule)]
        name = f"r{self.counter()}"
        made = self.admin.post(f"{RBAC}/namespaces/{self.ns}/roles", {"metadata": {"name": name}, "rules": rules})
        self.assertEqual(made.code, 201, made.text)
        body = {"metadata": {"name": name}, "subjects": [subject],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}}
        made = self.admin.post(f"{RBAC}/namespaces/{self.ns}/rolebindings", body)
        self.assertEqual(made.code, 201, made.text)
        return name

    def counter(self):
        Access.count = getattr(Access, "count", 0) + 1
        return Access.count

    # ---- who

    def test_a_client_certificate_names_its_user(self):
        answer = self.admin.post("/apis/authentication.k8s.io/v1/selfsubjectreviews",
                                 {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        self.assertEqual(answer.code, 201)
        user = answer.json["status"]["userInfo"]
        self.assertIn("system:masters", user["groups"])
        self.assertIn("system:authenticated", user["groups"])

    def test_a_client_certificate_is_told_by_its_fingerprint(self):
        answer = self.admin.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
        with open(os.path.join(self.dir, "client-certificate-data")) as f:
            der = ssl.PEM_cert_to_DER_cert(f.read())
        self.assertEqual(answer.json["status"]["userInfo"]["extra"], {"authentication.kubernetes.io/credential-id": [
            "X509SHA256=" + hashlib.sha256(der).hexdigest()]})

    def test_a_certificate_of_another_ca_is_no_identity(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
                        "-subj", "/O=system:masters/CN=admin", "-keyout", f"{self.dir}/other.key",
                        "-out", f"{self.dir}/other.crt"], check=True, capture_output=True)
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(f"{self.dir}/other.crt", f"{self.dir}/other.key")
        try:
            code = Client(self.port, context).get("/api/v1/namespaces").code
        except OSError:
            return  # refused in the handshake
        self.assertIn(code, (401, 403))

    def test_without_credentials_health_and_version_are_all_there_is(self):
        nobody = self.anonymous()
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            self.assertEqual(nobody.get(path).code, 200, path)
        for path in ("/metrics", "/api", "/openapi/v2"):
            answer = nobody.get(path)
            self.assertStatus(answer, 403, "Forbidden",
                              f'forbidden: User "system:anonymous" cannot get path "{path}"')
        self.assertStatus(
            nobody.get(self.path("pods", "x")), 403, "Forbidden",
            f'pods "x" is forbidden: User "system:anonymous" cannot get resource "pods" in API group "" in the '
            f'namespace "{self.ns}"')

    def test_wrong_credentials_are_unauthorized(self):
        for header in ("Bearer x", "Bearer a.b.c", "Bearer " + "x" * 20000):
            answer = self.anonymous(Authorization=header).get("/version")
            self.assertStatus(answer, 401, "Unauthorized", "Unauthorized")

    def test_impersonation_takes_the_others_rights(self):
        answer = self.as_user("jane").get(self.path("pods"))
        self.assertStatus(answer, 403, "Forbidden",
                          'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the '
                          f'namespace "{self.ns}"')
        self.assertEqual(self.as_user("jane", "system:masters").get(self.path("pods")).code, 200)

    def test_impersonation_takes_any_number_of_extras(self):
        for n in (1, 2, 7, 8, 9, 30):
            headers = {"Impersonate-User": "jane", **{f"Impersonate-Extra-Acme.com%2fk{i}": f"v{i}" for i in range(n)}}
            answer = self.admin.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers=headers)
            self.assertEqual(answer.json["status"]["userInfo"]["extra"],
                             {f"acme.com/k{i}": [f"v{i}"] for i in range(n)})

    def test_who_may_not_impersonate_harms_nobody_with_extras(self):
        answer = self.anonymous().get("/version", headers={"Impersonate-Extra-a": "b"})
        self.assertEqual(answer.code, 500)
        self.assertIn("impersonation without a user", answer.text)
        answer = self.anonymous().get("/version", headers={"Impersonate-User": "a", "Impersonate-Extra-a": "b"})
        self.assertEqual(answer.code, 403)

    def test_impersonation_needs_a_right(self):
        self.account("plain")
        client = self.bearer(self.token("plain"))
        client.headers["Impersonate-User"] = "admin"
        answer = client.get("/version")
        status = self.assertStatus(answer, 403, "Forbidden")
        self.assertIn('cannot impersonate resource "users"', status["message"])

    # ---- may what

    def test_a_role_allows_what_it_lists(self):
        self.grant({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "joe"}, ["pods"], ["get", "list"])
        joe = self.as_user("joe")
        self.assertEqual(joe.get(self.path("pods")).code, 200)
        self.assertEqual(joe.get(self.path("pods", "x")).code, 404)
        self.assertEqual(joe.get(self.path("secrets")).code, 403)
        self.assertEqual(joe.get(self.path("pods"), watch="true").code, 403)
        self.assertEqual(joe.get("/api/v1/pods").code, 403)
        self.assertEqual(joe.delete(self.path("pods", "x")).code, 403)

    def test_a_role_may_name_objects(self):
        self.grant({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "amy"}, ["configmaps"], ["get"],
                   resourceNames=["one"])
        self.configmap("one")
        self.configmap("two")
        amy = self.as_user("amy")
        self.assertEqual(amy.get(self.path("configmaps", "one")).code, 200)
        self.assertEqual(amy.get(self.path("configmaps", "two")).code, 403)

    def test_a_subresource_is_a_right_of_its_own(self):
        self.grant({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "sub"}, ["pods"], ["get", "patch"])
        answer = self.as_user("sub").patch(self.path("pods", "x") + "/status", {})
        status = self.assertStatus(answer, 403, "Forbidden")
        self.assertIn('cannot patch resource "pods/status"', status["message"])

    def test_a_right_that_is_taken_back_is_gone_at_once(self):
        name = self.grant({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "tmp"}, ["pods"], ["list"])
        self.assertEqual(self.as_user("tmp").get(self.path("pods")).code, 200)
        self.admin.delete(f"{RBAC}/namespaces/{self.ns}/rolebindings/{name}")
        self.assertEqual(self.as_user("tmp").get(self.path("pods")).code, 403)

    def test_nobody_grants_what_they_do_not_have(self):
        self.grant({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"},
                   ["roles"], ["create"], apiGroups=["rbac.authorization.k8s.io"])
        body = {"metadata": {"name": "big"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
        answer = self.as_user("eve").post(f"{RBAC}/namespaces/{self.ns}/roles", body)
        status = self.assertStatus(answer, 403, "Forbidden")
        self.assertIn("attempting to grant RBAC permissions not currently held", status["message"])

    def test_access_reviews_answer_as_the_authorizer(self):
        self.grant({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "rev"}, ["pods"], ["get"])
        for verb, allowed in (("get", True), ("delete", False)):
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                    "spec": {"user": "rev",
                             "resourceAttributes": {"namespace": self.ns, "verb": verb, "resource": "pods"}}}
            answer = self.admin.post(f"{REVIEWS}/subjectaccessreviews", body)
            self.assertEqual(answer.code, 201, answer.text)
            self.assertEqual(answer.json["status"]["allowed"], allowed)
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                "spec": {"namespace": self.ns}}
        rules = self.as_user("rev").post(f"{REVIEWS}/selfsubjectrulesreviews", body).json["status"]["resourceRules"]
        self.assertIn({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, rules)

    def test_the_bootstrap_roles_are_there(self):
        for name in ("cluster-admin", "admin", "edit", "view", "system:node", "system:kube-scheduler",
                     "system:kube-controller-manager", "system:discovery", "system:basic-user"):
            self.assertEqual(self.admin.get(f"{RBAC}/clusterroles/{name}").code, 200, name)

    # ---- tokens

    def test_a_token_is_its_service_account(self):
        self.account("robot")
        robot = self.bearer(self.token("robot"))
        status = self.assertStatus(robot.get(self.path("pods")), 403, "Forbidden")
        self.assertIn(f'User "system:serviceaccount:{self.ns}:robot"', status["message"])
        self.grant({"kind": "ServiceAccount", "name": "robot", "namespace": self.ns}, ["pods"], ["list"])
        self.assertEqual(robot.get(self.path("pods")).code, 200)

    def test_a_token_says_what_was_asked_for(self):
        self.account("asks")
        body = {"spec": {"audiences": ["a", "b"], "expirationSeconds": 700}}
        answer = self.admin.post(self.path("serviceaccounts", "asks") + "/token", body).json
        claims = claims_of(answer["status"]["token"])
        self.assertEqual(claims["aud"], ["a", "b"])
        self.assertEqual(claims["exp"] - claims["iat"], 700)
        self.assertEqual(claims["sub"], f"system:serviceaccount:{self.ns}:asks")
        self.assertEqual(claims["kubernetes.io"]["serviceaccount"]["name"], "asks")

    def test_a_token_for_others_is_not_for_us(self):
        self.account("abroad")
        self.assertEqual(self.bearer(self.token("abroad", audiences=["elsewhere"])).get("/api").code, 401)

    def test_too_short_a_life_is_invalid(self):
        self.account("brief")
        answer = self.admin.post(self.path("serviceaccounts", "brief") + "/token", {"spec": {"expirationSeconds": 5}})
        status = self.assertStatus(answer, 422, "Invalid")
        self.assertEqual(status["details"]["causes"][0]["field"], "spec.expirationSeconds")

    def test_a_token_dies_with_its_account(self):
        self.account("mortal")
        client = self.bearer(self.token("mortal"))
        self.assertEqual(client.get("/api").code, 200)
        self.admin.delete(self.path("serviceaccounts", "mortal"))
        self.assertEqual(client.get("/api").code, 401)
        self.account("mortal")  # of the same name, but another one
        self.assertEqual(client.get("/api").code, 401)

    def test_a_token_dies_with_what_it_is_bound_to(self):
        self.account("bound")
        secret = self.admin.post(self.path("secrets"), {"metadata": {"name": "s"}}).json
        client = self.bearer(self.token("bound", boundObjectRef={
            "kind": "Secret", "apiVersion": "v1", "name": "s", "uid": secret["metadata"]["uid"]}))
        self.assertEqual(client.get("/api").code, 200)
        self.admin.delete(self.path("secrets", "s"))
        self.assertEqual(client.get("/api").code, 401)

    def test_a_token_cannot_be_bound_to_what_is_not_there(self):
        self.account("loose")
        body = {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}}
        answer = self.admin.post(self.path("serviceaccounts", "loose") + "/token", body)
        self.assertStatus(answer, 404, "NotFound", 'pods "none" not found')

    def test_a_token_review_judges(self):
        self.account("judged")
        for token, good in ((self.token("judged"), True), ("nonsense", False)):
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
            answer = self.admin.post("/apis/authentication.k8s.io/v1/tokenreviews", body)
            self.assertEqual(answer.code, 201, answer.text)
            self.assertEqual(answer.json["status"].get("authenticated", False), good)

    def test_verifiers_find_keys(self):
        self.account("verifier")
        anyone = self.bearer(self.token("verifier"))
        configuration = anyone.get("/.well-known/openid-configuration").json
        self.assertTrue(configuration["jwks_uri"].endswith("/openid/v1/jwks"))
        self.assertTrue(anyone.get("/openid/v1/jwks").json["keys"])

    # ---- health

    def test_health_tells_each_check(self):
        for path in ("/healthz", "/livez", "/readyz"):
            self.assertEqual(self.anonymous().get(path).text, "ok")
            text = self.admin.get(path + "?verbose").text
            self.assertIn("[+]ping ok\n", text)
            self.assertTrue(text.endswith(f"{path[1:]} check passed\n"), text)
        self.assertEqual(self.admin.get("/livez/ping").text, "ok")
        self.assertEqual(self.admin.get("/livez/nonsense").code, 404)

    def test_a_health_check_can_be_left_out(self):
        text = self.admin.get("/readyz?verbose&exclude=etcd&exclude=nosuch&exclude=a%22b").text
        self.assertIn("[+]etcd excluded: ok\n", text)
        self.assertIn('\nwarn: some health checks cannot be excluded: no matches for "a\\"b","nosuch"\n'
                      "readyz check passed\n", text)
        self.assertNotIn("warn", self.admin.get("/readyz?verbose&exclude=etcd-readiness").text)
        self.assertIn('no matches for "etcd-readiness"\n', self.admin.get("/livez?verbose&exclude=etcd-readiness").text)
        self.assertEqual(self.admin.get("/readyz/etcd-readiness").text, "ok")
        self.assertEqual(self.admin.get("/livez/etcd-readiness").code, 404)
        self.assertEqual(self.admin.get("/readyz").headers["x-content-type-options"], "nosniff")

    def test_metrics_are_in_prometheus_form(self):
        self.admin.get(self.path("pods"))
        text = self.admin.get("/metrics").text
        self.assertIn("# TYPE apiserver_request_total counter", text)
        for line in text.splitlines():
            if line and not line.startswith("#"):
                float(line.rsplit(" ", 1)[1])
        self.assertRegex(text, r'apiserver_request_total\{[^}]*resource="pods"[^}]*verb="LIST"[^}]*\}|'
                               r'apiserver_request_total\{[^}]*verb="LIST"[^}]*resource="pods"[^}]*\}')


if __name__ == "__main__":
    main()
