// Asks for user and password when the server wants to know who is calling.

import * as api from "./api.js";
import { h } from "./dom.js";

export function signInPage(paint, again, refused) {
  const user = h("input", { id: "user", name: "user", autocomplete: "username", required: true, autocapitalize: "none" });
  const password = h("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true });
  const submit = (event) => {
    event.preventDefault();
    api.signIn(user.value, password.value);
    again();
  };
  const problem = refused && h("p", { class: "problem", role: "alert" }, "User or password is wrong.");
  api.signOut();
  document.getElementById("nav").replaceChildren();
  document.getElementById("who").replaceChildren();
  paint("Sign in", [], h("form", { class: "card sign-in", onsubmit: submit },
    h("h1", {}, "Sign in"), problem,
    h("label", { for: "user" }, "User"), user,
    h("label", { for: "password" }, "Password or token"), password,
    h("div", { class: "buttons" }, h("button", { class: "primary" }, "Sign in")),
    h("p", { class: "hint" }, "Kept in this page's memory only: it is forgotten when the page is reloaded or closed.")));
  user.focus();
}
