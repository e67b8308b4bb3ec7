-- expect: bad-output
return function()
  return { print }
end
