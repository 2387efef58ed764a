def @Camel@Format : IntFormat<@ordinal@, "@Camel@", "@Name@", 4> {
  let summary = "@summary@";
  let blockColumns = 32;
  let groupColumns = 32;
  let scale = "ScaleType::F16";
  let panelScale = "ScaleType::F16";
}
